//! What a sample of a running program stands for: an area of ours, a library, a call of the kernel.

/// One sample: where a thread was found, the innermost function first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sample {
    frames: Vec<Frame>,
}

/// A function, and the file that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Frame {
    symbol: String,
    file: String,
}

/// Samples as `perf script -F comm,ip,sym,dso` prints them: a line with the name of the thread, one
/// for each frame, an empty one.
pub(super) fn read(text: &str) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut frames = Vec::new();
    for line in text.lines().chain([""]) {
        if line.trim().is_empty() {
            if !frames.is_empty() {
                samples.push(Sample { frames: std::mem::take(&mut frames) });
            }
        } else if line.starts_with(char::is_whitespace) {
            frames.extend(frame(line));
        }
    }
    samples
}

/// `  ffffffff81000000 symbol (file)`.
fn frame(line: &str) -> Option<Frame> {
    let line = line.trim();
    let line = line.strip_suffix(" (deleted))").unwrap_or(line);
    let (_address, rest) = line.split_once(' ')?;
    let (symbol, file) = rest.rsplit_once(" (")?;
    let symbol = symbol.split_once("+0x").map_or(symbol, |(symbol, _)| symbol);
    Some(Frame { symbol: symbol.trim().to_owned(), file: file.trim_end_matches(')').to_owned() })
}

impl Frame {
    fn is_kernel(&self) -> bool {
        self.file.starts_with("[kernel") || self.file.starts_with("[guest.kernel")
    }
}

/// The function that ran.
pub(super) fn function(sample: &Sample) -> String {
    let Some(frame) = sample.frames.first() else { return "nothing".to_owned() };
    if frame.is_kernel() {
        return format!("[kernel] {} in {}", frame.symbol, area(sample));
    }
    if frame.symbol == "[unknown]" {
        return area(sample);
    }
    frame.symbol.clone()
}

/// What the function that ran belongs to.
pub(super) fn area(sample: &Sample) -> String {
    let Some(frame) = sample.frames.first() else { return "nothing".to_owned() };
    if frame.is_kernel() {
        return format!("kernel: {}", kernel_area(&sample.frames));
    }
    let file = frame.file.rsplit('/').next().unwrap_or(&frame.file);
    if file.starts_with("libc") || file.starts_with("ld-linux") || file == "[vdso]" {
        return "libc".to_owned();
    }
    if frame.symbol == "[unknown]" || file.starts_with("perf-") || file.starts_with("[anon") {
        return "compiled plugins".to_owned();
    }
    crate_of(&frame.symbol)
}

/// The outermost call says what the kernel was asked for.
fn kernel_area(frames: &[Frame]) -> String {
    for frame in frames.iter().rev().filter(|frame| frame.is_kernel()) {
        let symbol = &*frame.symbol;
        if let Some(call) =
            symbol.strip_prefix("__x64_sys_").or(symbol.strip_prefix("__arm64_sys_"))
        {
            return call.to_owned();
        }
        if symbol.contains("page_fault") {
            return "page faults".to_owned();
        }
        if symbol.starts_with("asm_sysvec") || symbol.contains("_interrupt") {
            return "interrupts".to_owned();
        }
    }
    "entry and exit".to_owned()
}

/// The crate of a function; of ours, the module too.
fn crate_of(symbol: &str) -> String {
    let bare = symbol.trim_start_matches("core::ptr::drop_in_place");
    let bare = bare.trim_start_matches(|c: char| "<&*([".contains(c));
    let bare = bare.trim_start_matches("mut ").trim_start_matches("dyn ");
    let end = bare.find(|c: char| !(c.is_ascii_alphanumeric() || "_:".contains(c)));
    let path = end.and_then(|end| bare.get(..end)).unwrap_or(bare);
    let mut parts = path.split("::").filter(|part| !part.is_empty());
    let (first, second) = (parts.next().unwrap_or(symbol), parts.next());
    match (first, second) {
        ("core" | "alloc" | "std", _) => "std".to_owned(),
        ("wirepost", Some(module)) => format!("wirepost::{module}"),
        // Functions of C have no path.
        (name, None) if name.starts_with("mi_") || name.starts_with("_mi_") => {
            "mimalloc".to_owned()
        }
        (name, None) if name.starts_with("mem") || name.starts_with("__mem") => "libc".to_owned(),
        (name, None) if name.starts_with("_ZN") => "without a name".to_owned(),
        (name, _) => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(frames: &str, expect: (&str, &str)) {
        let [sample] = &read(&format!("worker \n{frames}\n"))[..] else { panic!("{frames}") };
        assert_eq!((&*area(sample), &*function(sample)), expect);
    }

    #[test]
    fn a_sample_belongs_to_whoever_asked_for_it() {
        check(
            "\tffff tcp_sendmsg_locked+0x1 ([kernel.kallsyms])\n\tffff __x64_sys_sendto+0x2 ([kernel.kallsyms])\n\t55 x::y (/w/wirepost)",
            ("kernel: sendto", "[kernel] tcp_sendmsg_locked in kernel: sendto"),
        );
        check(
            "\tffff clear_page ([kernel.kallsyms])\n\tffff asm_exc_page_fault ([kernel.kallsyms])",
            ("kernel: page faults", "[kernel] clear_page in kernel: page faults"),
        );
        let ours = "wirepost::router::accept::Router::accept::{{closure}}";
        check(&format!("\t55 {ours}+0x12 (/w/wirepost)"), ("wirepost::router", ours));
        check(
            "\t55 <smtp::line::Lines as core::iter::Iterator>::next (/w/w)",
            ("smtp", "<smtp::line::Lines as core::iter::Iterator>::next"),
        );
        check(
            "\t55 core::ptr::drop_in_place<fjall::batch::Item> (/w/w)",
            ("fjall", "core::ptr::drop_in_place<fjall::batch::Item>"),
        );
        check("\t55 mi_malloc (/w/w)", ("mimalloc", "mi_malloc"));
        check("\t55 __memmove_avx (/usr/lib/libc.so.6)", ("libc", "__memmove_avx"));
        check("\t55 [unknown] (/memfd:wasm (deleted))", ("compiled plugins", "compiled plugins"));
    }
}
