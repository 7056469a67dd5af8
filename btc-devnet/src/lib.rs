//! A Bitcoin regtest chain for demos and tests: consensus by Bitcoin Core's own code, an Esplora API in front of it.
