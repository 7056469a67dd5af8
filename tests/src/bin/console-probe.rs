//! A program that does with its terminal what a node's console does, and nothing else: it says how it would talk, then
//! repeats every line it gets. The pty tests start it in all the ways in which a node is started.

use side_node::terminal::{ConsoleMode, End, Input, LineInput};

fn main() -> std::io::Result<()> {
    // Its owner is looked up here: whoever reads "ready" may end the owner.
    let mut input = LineInput::stdin();
    println!("ready {:?} as {}", ConsoleMode::detect(), std::process::id());
    loop {
        match input.next_input()? {
            Input::Line(line) => println!("line <{line}>"),
            Input::Refused(reason) => println!("refused: {reason}"),
            Input::End(End::OwnerGone) => {
                println!("end OwnerGone");
                return Ok(());
            }
            Input::End(end) => {
                println!("end {end:?}");
                return Ok(());
            }
        }
    }
}
