//! Marks every function of the agent's changing parts as a moment at which a test can let something happen, in the
//! script and in the copy of itself that it arms. The text is otherwise the one that travels.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// The parts in whose functions something can be half done.
const PARTS: [&str; 5] = [
    include_str!("../../src/pfsense/agent/apply.php"),
    include_str!("../../src/pfsense/agent/finish.php"),
    include_str!("../../src/pfsense/agent/job.php"),
    include_str!("../../src/pfsense/agent/proof.php"),
    include_str!("../../src/pfsense/agent/write.php"),
];

/// What stands in the place of writing, once the stand-in is loaded.
const FULL_DISK: &str =
    "(function_exists('shim_fwrite') ? shim_fwrite($file, $text) : @fwrite($file, $text))";

/// Marks the moments in a script.
pub fn instrument(script: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(script).expect("text");
    let start = "$itself = base64_decode('";
    let Some(at) = text.find(start) else {
        return script.to_vec();
    };
    let from = at + start.len();
    let to = from + text[from..].find('\'').expect("the literal's end");
    let itself = String::from_utf8(BASE64.decode(&text[from..to]).expect("base64")).expect("text");
    let literal = BASE64.encode(mark(&itself));
    [mark(&text[..from]), literal, mark(&text[to..])].concat().into_bytes()
}

fn mark(text: &str) -> String {
    let text = text.replace("@fwrite($file, $text)", FULL_DISK);
    let mut marked = String::with_capacity(text.len() * 2);
    for line in text.split_inclusive('\n') {
        marked.push_str(line);
        let is_function = line.starts_with("function kmsctl_") && line.ends_with("{\n");
        if is_function && PARTS.iter().any(|part| part.contains(line)) {
            marked.push_str("\tif (function_exists('shim_step')) { shim_step(__FUNCTION__); }\n");
        }
    }
    marked
}

/// Returns the same for sed, which marks a script on its way into PHP: what the real tool sends is not in our hands.
pub fn sed() -> String {
    let names: Vec<&str> = PARTS
        .iter()
        .flat_map(|part| part.lines())
        .filter_map(|line| line.strip_prefix("function ")?.split('(').next())
        .collect();
    format!(
        "/^function ({})\\(.*\\{{$/a\\\n\tif (function_exists('shim_step')) {{ shim_step(__FUNCTION__); }}\n\
         s/@fwrite\\(\\$file, \\$text\\)/{FULL_DISK}/\n",
        names.join("|")
    )
}
