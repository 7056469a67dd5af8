//! A page of the documentation as the steps that it asks of its reader.

/// What a page asks for, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Something happens at a terminal.
    Console(Console),
    /// A file is to be written.
    File {
        /// The line of the page.
        line: usize,
        /// Where, as the page says it (`~` is the home folder).
        path: String,
        /// Its text.
        text: String,
    },
    /// The block stands in a source file.
    Quote {
        /// The line of the page.
        line: usize,
        /// The source file, from the workspace's folder.
        path: String,
        /// The text that must stand there.
        text: String,
    },
}

/// A block `console`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Console {
    /// The terminal's name.
    pub terminal: String,
    /// Whether its commands are typed again until they print what is shown.
    pub repeat: bool,
    /// Whether the lines may come in another order.
    pub any_order: bool,
    /// Whether its commands have a terminal of their own, and not pipes.
    pub on_a_terminal: bool,
    /// What is typed, and what it prints.
    pub acts: Vec<Act>,
}

/// One thing that a person does at a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    /// The line of the page.
    pub line: usize,
    /// What is done.
    pub input: Input,
    /// What is printed then.
    pub output: Vec<String>,
}

/// What a person does at a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A command for the shell.
    Command(String),
    /// A line for the program that runs.
    Line(String),
    /// Ctrl-C.
    Interrupt,
    /// Nothing: the program that runs says something by itself.
    Nothing,
}

/// The name of the terminal that a page does not name.
const UNNAMED: &str = "shell";
/// Languages of blocks that may hold commands without the sign that begins one.
const SHELLS: [&str; 5] = ["sh", "bash", "shell", "zsh", "shell-session"];

/// What begins a command also where no sign stands before it.
const OURS: [&str; 6] = ["side-node", "side-watcher", "btc-devnet", "shared-list", "cargo", "make"];

#[derive(Default)]
struct Marks {
    skip: bool,
    repeat: bool,
    any_order: bool,
    on_a_terminal: bool,
    file: Option<String>,
    from: Option<String>,
}

/// Reads a page.
///
/// # Errors
/// A line and what is wrong with it: a block that is neither played nor marked with a reason, a mark that marks nothing, a fence that never ends.
pub fn read(text: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    let mut marks = Marks::default();
    let mut marked_at = None;
    let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line));
    while let Some((at, line)) = lines.next() {
        if let Some(mark) = line.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->")) {
            if marks.note(mark).map_err(|error| format!("line {at}: {error}"))? {
                marked_at = Some(at);
            }
            continue;
        }
        let Some(info) = line.trim_start().strip_prefix("```") else {
            if let Some(marked) = marked_at.filter(|_| !line.trim().is_empty()) {
                return Err(format!("line {marked}: the mark stands before no block"));
            }
            continue;
        };
        let indent = line.len() - line.trim_start().len();
        let mut block = Vec::new();
        loop {
            let (_, line) = lines.next().ok_or_else(|| format!("line {at}: the block never ends"))?;
            if line.trim() == "```" {
                break;
            }
            block.push(line.get(indent..).unwrap_or(line.trim_start()));
        }
        let marks = std::mem::take(&mut marks);
        marked_at = None;
        if let Some(step) = step(at, info.trim(), &block, marks).map_err(|error| format!("line {at}: {error}"))? {
            steps.push(step);
        }
    }
    match marked_at {
        Some(at) => Err(format!("line {at}: the mark stands before no block")),
        None => Ok(steps),
    }
}

impl Marks {
    /// Takes a mark; whether it is one of ours. Other comments are none of our business.
    fn note(&mut self, mark: &str) -> Result<bool, String> {
        let (word, rest) = mark.split_once(": ").unwrap_or((mark, ""));
        match word {
            "not run" if rest.trim().is_empty() => return Err("say why it is not run: <!-- not run: REASON -->".into()),
            "not run" => self.skip = true,
            "repeat" => self.repeat = true,
            "any order" => self.any_order = true,
            "on a terminal" => self.on_a_terminal = true,
            "file" if !rest.is_empty() => self.file = Some(rest.to_owned()),
            "from" if !rest.is_empty() => self.from = Some(rest.to_owned()),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn step(line: usize, info: &str, block: &[&str], marks: Marks) -> Result<Option<Step>, String> {
    if marks.skip {
        return Ok(None);
    }
    let text = || block.iter().map(|line| format!("{line}\n")).collect::<String>();
    if let Some(path) = marks.file {
        return Ok(Some(Step::File { line, path, text: text() }));
    }
    if let Some(path) = marks.from {
        return Ok(Some(Step::Quote { line, path, text: text() }));
    }
    let mut words = info.split_whitespace();
    let language = words.next().unwrap_or_default();
    if language == "console" {
        let named = words.next();
        let terminal = named.unwrap_or(UNNAMED).to_owned();
        let acts = acts(line, block, named.is_some())?;
        let Marks { repeat, any_order, on_a_terminal, .. } = marks;
        return Ok(Some(Step::Console(Console { terminal, repeat, any_order, on_a_terminal, acts })));
    }
    let is_ours = |line: &str| line.split(' ').next().is_some_and(|word| OURS.contains(&word));
    if SHELLS.contains(&language) || block.iter().any(|line| line.starts_with("$ ") || is_ours(line)) {
        return Err("these commands are neither played (```console) nor marked (<!-- not run: REASON -->)".into());
    }
    Ok(None)
}

fn acts(fence: usize, block: &[&str], named: bool) -> Result<Vec<Act>, String> {
    let mut acts: Vec<Act> = Vec::new();
    let mut continues = false;
    for (at, line) in block.iter().enumerate() {
        if continues {
            let Some(Act { input: Input::Command(command), .. }) = acts.last_mut() else {
                unreachable!("a command continues")
            };
            command.push('\n');
            command.push_str(line);
            continues = line.ends_with('\\');
            continue;
        }
        let input = if let Some(command) = line.strip_prefix("$ ") {
            continues = command.ends_with('\\');
            Input::Command(command.to_owned())
        } else if *line == "^C" {
            Input::Interrupt
        } else if let Some(typed) = typed(line) {
            Input::Line(typed.to_owned())
        } else {
            if let Some(act) = acts.last_mut() {
                act.output.push((*line).to_owned());
                continue;
            }
            if !named {
                return Err("the block begins with no command: `$ command`".into());
            }
            acts.push(Act { line: fence + 1, input: Input::Nothing, output: vec![(*line).to_owned()] });
            continue;
        };
        acts.push(Act { line: fence + 1 + at, input, output: Vec::new() });
    }
    if continues {
        return Err("the last command goes on on a line that is missing".into());
    }
    if acts.is_empty() {
        return Err("the block is empty".into());
    }
    Ok(acts)
}

/// What is typed at a prompt like `node1> `.
fn typed(line: &str) -> Option<&str> {
    let (name, typed) = line.split_once("> ")?;
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    is_name.then_some(typed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console(text: &str) -> Console {
        match read(text).expect("a page").pop() {
            Some(Step::Console(console)) => console,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn commands_typed_lines_and_what_they_print() {
        let console = console(
            "# T\n\n<!-- repeat -->\n```console node1\n$ run \\\n  it\nready\n\nnode1> hello\nnode1: hello\n^C\n```\n",
        );
        assert_eq!((console.terminal.as_str(), console.repeat, console.any_order), ("node1", true, false));
        let inputs: Vec<_> = console.acts.iter().map(|act| (act.line, act.input.clone(), act.output.len())).collect();
        let run = Input::Command("run \\\n  it".into());
        assert_eq!(inputs, [(5, run, 2), (9, Input::Line("hello".into()), 1), (11, Input::Interrupt, 0)]);
    }

    #[test]
    fn a_program_that_runs_says_something_by_itself() {
        let console = console("```console node1\nnode2: good morning\n```\n");
        assert_eq!(console.acts, [Act { line: 2, input: Input::Nothing, output: vec!["node2: good morning".into()] }]);
        assert!(read("```console\nnode2: good morning\n```\n").is_err(), "nothing runs in a terminal without a name");
    }

    #[test]
    fn a_block_that_is_neither_played_nor_marked_is_refused() {
        for text in [
            "```sh\nls\n```\n",
            "```\n$ ls\n```\n",
            "```text\na\n$ ls\n```\n",
            "```\nside-node tui\n```\n",
            "```\nmake\n```\n",
        ] {
            assert!(read(text).unwrap_err().contains("line 1: these commands are neither"), "{text}");
        }
        assert_eq!(read("<!-- not run: it takes three machines -->\n```sh\nmake\n```\n"), Ok(vec![]));
        assert!(read("<!-- not run:  -->\n```sh\nmake\n```\n").is_err(), "a reason is asked for");
        assert_eq!(read("```text\na picture\n```\n```rust\nlet a = 1;\n```\n"), Ok(vec![]));
    }

    #[test]
    fn a_mark_that_marks_nothing_is_refused() {
        for text in [
            "<!-- not run: why -->\n\nWords.\n",
            "<!-- repeat -->\n",
            "```console\nno command\n```\n",
            "```console\n$ ls\n",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        assert_eq!(read("<!-- a remark -->\nWords.\n"), Ok(vec![]));
    }

    #[test]
    fn files_and_quotes() {
        let steps =
            read("<!-- file: ~/a.toml -->\n```toml\na = 1\n```\n<!-- from: x.rs -->\n```rust\nfn x() {}\n```\n")
                .unwrap();
        assert_eq!(
            steps,
            [
                Step::File { line: 2, path: "~/a.toml".into(), text: "a = 1\n".into() },
                Step::Quote { line: 6, path: "x.rs".into(), text: "fn x() {}\n".into() },
            ]
        );
    }
}
