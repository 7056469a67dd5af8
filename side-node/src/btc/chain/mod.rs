//! What a server says of the chain, and what it must show before it is believed: headers, proof of work, merkle proofs.
