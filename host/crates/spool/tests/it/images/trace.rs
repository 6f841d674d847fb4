//! Reads what strace recorded: every change of a file or a folder, and every sync, in order.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// What has to be recorded.
pub(crate) const CALLS: &str = "trace=openat,creat,write,writev,pwrite64,pwritev,ftruncate,\
fallocate,fsync,fdatasync,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,\
rmdir,lseek,copy_file_range,dup,dup2,dup3,symlink,symlinkat";

/// Something that happened to a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    Create(PathBuf),
    Folder(PathBuf),
    Write { path: PathBuf, at: Place, bytes: Vec<u8> },
    Resize(PathBuf, u64),
    Sync(PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

/// Where a write goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    At(u64),
    End,
}

/// An event, with the lines of the record at which it began and was done.
#[derive(Debug, Clone)]
pub(crate) struct Timed {
    pub(crate) began: usize,
    pub(crate) done: usize,
    pub(crate) event: Event,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    append: bool,
    position: u64,
}

/// Reads a whole record.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    open: HashMap<u64, Open>,
    unfinished: HashMap<String, (usize, String)>,
    events: Vec<Timed>,
}

impl Reader {
    pub(crate) fn read(record: &str) -> Vec<Timed> {
        let mut reader = Self::default();
        for (number, line) in record.lines().enumerate() {
            reader.line(number, line);
        }
        reader.events
    }

    fn line(&mut self, number: usize, line: &str) {
        let Some((process, call)) = line.split_once(' ') else { return };
        let call = call.trim_start();
        if let Some(begin) = call.strip_suffix(" <unfinished ...>") {
            self.unfinished.insert(process.to_owned(), (number, begin.to_owned()));
        } else if let Some(rest) = call.strip_prefix("<... ") {
            let (began, begin) = self.unfinished.remove(process).unwrap();
            let (_, rest) = rest.split_once(" resumed>").unwrap();
            self.call(began, number, &format!("{begin}{rest}"));
        } else {
            self.call(number, number, call);
        }
    }

    fn call(&mut self, began: usize, done: usize, call: &str) {
        let Some((name, rest)) = call.split_once('(') else { return };
        let Some((arguments, result)) = rest.rsplit_once(") = ").or_else(|| rest.rsplit_once(')'))
        else {
            return;
        };
        let result = result.trim_start_matches([' ', '=']);
        let digits: String = result.chars().take_while(char::is_ascii_digit).collect();
        // What failed or never came back changed nothing.
        let Ok(result) = digits.parse::<u64>() else { return };
        let arguments = split(arguments);
        let first = arguments[0].as_str();
        let event = match name {
            "openat" => return self.opened(began, done, &arguments, result),
            "lseek" => {
                if let Some(open) = self.open.get_mut(&fd(first)) {
                    open.position = result;
                }
                return;
            }
            "write" | "writev" => {
                let Some(path) = file(first) else { return };
                let mut bytes = strings(&arguments[1]);
                bytes.truncate(usize::try_from(result).unwrap());
                let at = self.advance(fd(first), result);
                Event::Write { path, at, bytes }
            }
            "pwrite64" => {
                let Some(path) = file(first) else { return };
                let mut bytes = strings(&arguments[1]);
                bytes.truncate(usize::try_from(result).unwrap());
                Event::Write { path, at: Place::At(arguments[3].parse().unwrap()), bytes }
            }
            "ftruncate" => {
                let Some(path) = file(first) else { return };
                Event::Resize(path, arguments[1].parse().unwrap())
            }
            "fsync" | "fdatasync" => {
                let Some(path) = file(first) else { return };
                Event::Sync(path)
            }
            "rename" => Event::Rename(path(first), path(&arguments[1])),
            "renameat" | "renameat2" => {
                Event::Rename(path_at(first, &arguments[1]), path_at(&arguments[2], &arguments[3]))
            }
            "unlink" | "rmdir" => Event::Remove(path(first)),
            "unlinkat" => Event::Remove(path_at(first, &arguments[1])),
            "mkdir" => Event::Folder(path(first)),
            "mkdirat" => Event::Folder(path_at(first, &arguments[1])),
            other => panic!("the record has a call that is not understood: {other}: {call}"),
        };
        self.events.push(Timed { began, done, event });
    }

    fn opened(&mut self, began: usize, done: usize, arguments: &[String], fd: u64) {
        let path = path_at(&arguments[0], &arguments[1]);
        let flags = &arguments[2];
        let append = flags.contains("O_APPEND");
        self.open.insert(fd, Open { append, position: 0 });
        if flags.contains("O_CREAT") {
            self.events.push(Timed { began, done, event: Event::Create(path.clone()) });
        }
        if flags.contains("O_TRUNC") {
            self.events.push(Timed { began, done, event: Event::Resize(path, 0) });
        }
    }

    fn advance(&mut self, fd: u64, by: u64) -> Place {
        // Standard output and the like were open before.
        let open = self.open.entry(fd).or_insert(Open { append: true, position: 0 });
        if open.append {
            return Place::End;
        }
        let at = open.position;
        open.position += by;
        Place::At(at)
    }
}

/// Splits arguments at commas; strings are in hexadecimal and hold none.
fn split(arguments: &str) -> Vec<String> {
    if !arguments.contains('[') {
        return arguments.split(',').map(|argument| argument.trim().to_owned()).collect();
    }
    let mut depth = 0_usize;
    let mut all = vec![String::new()];
    for letter in arguments.chars() {
        match letter {
            '[' | '{' => depth += 1,
            ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                all.push(String::new());
                continue;
            }
            _ => {}
        }
        all.last_mut().unwrap().push(letter);
    }
    all.into_iter().map(|argument| argument.trim().to_owned()).collect()
}

fn fd(argument: &str) -> u64 {
    argument.split('<').next().unwrap().parse().unwrap_or(u64::MAX)
}

/// The path that strace knows of a descriptor; nothing if it is no file any more.
fn file(argument: &str) -> Option<PathBuf> {
    let (_, name) = argument.split_once('<')?;
    let name = name.strip_suffix('>')?;
    let name = String::from_utf8(hex(name)).unwrap();
    name.starts_with('/').then(|| PathBuf::from(name))
}

fn path(argument: &str) -> PathBuf {
    PathBuf::from(String::from_utf8(strings(argument)).unwrap())
}

fn path_at(folder: &str, name: &str) -> PathBuf {
    let (name, folder) = (path(name), file(folder));
    folder.map_or(name.clone(), |folder| folder.join(name))
}

/// All quoted strings of an argument, joined.
fn strings(argument: &str) -> Vec<u8> {
    argument.split('"').skip(1).step_by(2).flat_map(hex).collect()
}

/// `\x2f` and so on.
fn hex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => byte - b'0',
        _ => byte - b'a' + 10,
    };
    let bytes = text.as_bytes();
    bytes.chunks_exact(4).map(|four| digit(four[2]) << 4 | digit(four[3])).collect()
}

/// Whether a path is below another.
pub(crate) fn below(path: &Path, root: &Path) -> Option<PathBuf> {
    path.strip_prefix(root).ok().map(Path::to_owned)
}
