//! Where in its program a call was made: known functions and lines, asked from 64 threads or goroutines at once.
use clew_tests::{Clew, Kind, Lab, Symbols, until};

/// Kinds of requests that end who serves them, the signal that does, and what is said of it.
const ENDS: [(&str, &str, &str); 2] = [
    ("touch", "SIGSEGV", "nothing is mapped at 0x10"),
    ("give_up", "SIGABRT", ""),
];

/// What is told of a place in a source, beside its function.
enum Place<'a> {
    /// The file and the line that the call is on.
    Line(&'a str),
    /// The line, in a file whose path the compiler has shortened.
    Short(&'a str),
    /// The file.
    File(&'a str),
    /// Nothing.
    Untold,
    /// Nothing, and who calls is not known until it is compiled.
    Compiling,
}

/// The program asks itself for `/buy` and `/stock`, each in functions named `name`, until there is the file it is given; from a line with
/// that mark, where lines are told. It reads what is asked below a function in whose name `serves` is, if that is told at all. A program
/// is looked at while it runs: calls before that have no stack, but none has a wrong one.
fn check(
    test: &str,
    argv: impl FnOnce() -> Vec<String>,
    place: &Place<'_>,
    serves: &str,
    name: impl Fn(&str) -> String,
) {
    /// Calls of each kind whose stack is waited for.
    const ENOUGH: usize = 200;
    let Some(lab) = Lab::new(test) else { return };
    let source = match place {
        Place::Line(source) | Place::Short(source) | Place::File(source) => Some(Lab::workload(source)),
        Place::Untold | Place::Compiling => None,
    };
    let line = |mark: &str| {
        let source = source
            .as_ref()
            .filter(|_| matches!(place, Place::Line(_) | Place::Short(_)))?;
        let text = std::fs::read_to_string(source).expect("read the program");
        let mark = format!("call: {mark}");
        let place = text.lines().position(|line| line.ends_with(&mark));
        Some((place.expect("a marked line") + 1).to_string())
    };
    let told_file = match (place, &source) {
        (Place::Short(source), _) => source.rsplit('/').next().map(|file| format!("./{file}")),
        (_, source) => source.clone(),
    };
    let mut argv = argv();
    argv.push(lab.dir().join("stop").display().to_string());
    let run = Clew::run(&lab).args(&["--stacks", "auto"]).start(&argv);
    until("calls have their stacks", || {
        let text = run.otlp();
        let told = |function| text.matches(&format!("\"{}\"", name(function))).count() >= ENOUGH;
        (told("buy") && told("stock")).then_some(())
    });
    lab.file("stop", "");
    let out = run.wait();
    out.check_eq(out.code, 0, "the program's end");
    for function in ["buy", "stock"] {
        let path = format!("/{function}");
        let line = line(function);
        let calls = out
            .spans
            .filter(|span| span.kind == Kind::Client && span.path() == path);
        let told = calls.iter().filter(|call| !call.text("code.function.name").is_empty());
        for call in told.clone() {
            out.check_span(
                call,
                &[
                    ("code.function.name", &name(function)),
                    ("code.file.path", told_file.as_deref().unwrap_or("")),
                    ("code.line.number", line.as_deref().unwrap_or("")),
                ],
            );
            let stack = call.text("code.stacktrace");
            let mut functions = stack.lines().filter(|line| !line.trim_start().starts_with("at "));
            let is = |line: &str, function| line.contains(&name(function));
            let knows = match place {
                Place::Compiling => {
                    functions.any(|line| is(line, function))
                        && functions
                            .next()
                            .is_some_and(|line| is(line, "shop") || line.ends_with("[unknown]"))
                }
                _ => is(&stack, "shop") && is(&stack, function),
            };
            out.check(knows, &format!("the stack is {stack}"));
        }
        let shop = name("shop");
        out.check(
            told.clone().any(|call| call.text("code.stacktrace").contains(&shop)),
            "who calls is known",
        );
        println!("{function}: {} of {} calls have a stack", told.count(), calls.len());
        let served = out.spans.at(Kind::Server, &path);
        let stacks = served.iter().map(|span| span.text("code.stacktrace"));
        let told: Vec<_> = stacks.filter(|stack| !stack.is_empty()).collect();
        println!("{function}: {} of {} requests have a stack", told.len(), served.len());
        if !serves.is_empty() {
            out.check(told.len() >= ENOUGH, "requests have their stacks");
            for stack in told {
                out.check(stack.contains(serves), &format!("the stack is {stack}"));
            }
        }
    }
}

#[test]
fn go() {
    let argv = || vec![Lab::go("calls")];
    check(
        "stacks_go",
        argv,
        &Place::Line("go/calls.go"),
        "net/http.(*conn).serve",
        |name| format!("main.{name}"),
    );
}

#[test]
fn go_stripped() {
    let argv = || vec![Lab::go_by("local", "calls", true)];
    check(
        "stacks_go_stripped",
        argv,
        &Place::Short("go/calls.go"),
        "net/http.(*conn).serve",
        |name| format!("main.{name}"),
    );
}

#[test]
fn python() {
    let argv = || vec!["/usr/bin/python3".to_owned(), Lab::workload("python/calls.py")];
    check(
        "stacks_python",
        argv,
        &Place::Line("python/calls.py"),
        "handle_one_request",
        str::to_owned,
    );
}

/// C and C++: calls from functions of their own and from inlined ones, on stacks with frames of unknown size and large ones.
fn c(test: &str, compiler: &str, options: &[&str], symbols: Symbols, name: impl Fn(&str) -> String) {
    let argv = || {
        let options = [&["-pthread"], options].concat();
        vec![Lab::compiled("c/calls.c", test, compiler, &options, symbols)]
    };
    let place = match symbols {
        Symbols::Within | Symbols::Apart => Place::Line("c/calls.c"),
        Symbols::Packed => Place::Untold,
    };
    check(test, argv, &place, "serve", name);
}

fn plain(name: &str) -> String {
    name.to_owned()
}

fn in_market(name: &str) -> String {
    format!("market::{name}")
}

#[test]
fn c_without_frame_pointers() {
    let options = ["-O2", "-fomit-frame-pointer"];
    c("stacks_c", "cc", &options, Symbols::Within, plain);
}

#[test]
fn c_inlined_with_frame_pointers() {
    let options = ["-O2", "-fno-omit-frame-pointer", "-DINLINED"];
    c("stacks_c_inlined", "cc", &options, Symbols::Within, plain);
}

#[test]
fn c_stripped() {
    let options = ["-O2", "-Wl,--build-id=none", "-DINLINED"];
    c("stacks_c_stripped", "cc", &options, Symbols::Apart, plain);
}

#[test]
fn c_with_packed_symbols() {
    c("stacks_c_packed", "cc", &["-O2"], Symbols::Packed, plain);
}

/// The program sees another root of files, in which it lies alone.
#[test]
fn c_in_a_root_of_its_own() {
    let argv = || {
        let options = ["-O2", "-pthread", "-static"];
        let program = Lab::compiled("c/calls.c", "stacks_c_static", "cc", &options, Symbols::Within);
        let enter = "root=$(dirname $1) && cp $0 $root/calls && exec chroot $root /calls /$(basename $1)";
        ["sh", "-c", enter, &program].map(str::to_owned).to_vec()
    };
    check("stacks_c_in_a_root", argv, &Place::Line("c/calls.c"), "serve", plain);
}

/// Handlers of a signal that comes at an instruction of the PLT and of the vDSO ask: what they interrupted is told, too.
#[cfg(target_arch = "x86_64")]
#[test]
fn c_in_signal_handlers() {
    let options = [
        "-O2",
        "-fomit-frame-pointer",
        "-mno-red-zone",
        "-Wl,-z,lazy",
        "-DSTEPPED",
    ];
    c("stacks_c_stepped", "cc", &options, Symbols::Within, plain);
}

#[test]
fn cpp() {
    c(
        "stacks_cpp",
        "c++",
        &["-O2", "-gz", "-x", "c++"],
        Symbols::Within,
        in_market,
    );
}

#[test]
fn cpp_stripped() {
    let options = ["-O2", "-DINLINED", "-Wl,--build-id=sha1", "-x", "c++"];
    c("stacks_cpp_stripped", "c++", &options, Symbols::Apart, in_market);
}

fn rust(test: &str, options: &[&str], symbols: Symbols) {
    let argv = || {
        let options = [&["--edition=2024", "-O"], options].concat();
        vec![Lab::compiled("rust/src/calls.rs", test, "rustc", &options, symbols)]
    };
    check(test, argv, &Place::Line("rust/src/calls.rs"), "calls::serve", |name| {
        format!("calls::{name}")
    });
}

#[test]
fn rust_without_frame_pointers() {
    rust("stacks_rust", &["-Cforce-frame-pointers=no"], Symbols::Within);
}

#[test]
fn rust_stripped_with_frame_pointers() {
    let options = ["-Cforce-frame-pointers=yes", "-Csymbol-mangling-version=v0"];
    rust("stacks_rust_stripped", &options, Symbols::Apart);
}

/// The calls are made within a function of C's, which Rust calls and is called by.
#[test]
fn rust_and_c() {
    rust("stacks_rust_and_c", &["--cfg", "mixed"], Symbols::Within);
}

#[test]
fn node_by_its_map() {
    for (test, node) in [
        ("stacks_node", "node".to_owned()),
        ("stacks_newest_node", Lab::newest_node()),
    ] {
        let options = [
            "--perf-basic-prof",
            "--interpreted-frames-native-stack",
            "--no-turbo-inlining",
        ];
        let argv = || {
            [&[&*node], &options[..], &[&*Lab::workload("node/market.js")]]
                .concat()
                .iter()
                .map(|word| (*word).to_owned())
                .collect()
        };
        check(test, argv, &Place::File("node/market.js"), "", plain);
    }
}

/// A method that is not compiled yet is not known, and none is told in its place.
#[test]
fn java_by_its_map() {
    let options = [
        "java",
        "-XX:+PreserveFramePointer",
        "-XX:CompileCommand=quiet",
        "-XX:CompileCommand=dontinline,Market::*",
    ];
    let argv = || {
        options
            .into_iter()
            .map(str::to_owned)
            .chain([Lab::workload("java/Market.java")])
            .collect()
    };
    check("stacks_java", argv, &Place::Compiling, "", |name| {
        format!("Market.{name}")
    });
}

/// The program asks itself for `/fine` until there is a file, then for what ends the process that serves it, in functions named `name`. The
/// request that it ends tells where that was: in which functions, the innermost of the program's own on a line with that mark.
fn check_ends(test: &str, program: impl Fn(&str) -> String, source: &str, name: impl Fn(&str) -> String) {
    for (kind, signal, message) in ENDS {
        let test = format!("{test}_{kind}");
        let Some(lab) = Lab::new(&test) else { return };
        let file = lab.dir().join("stop").display().to_string();
        let argv = [program(&test), kind.to_owned(), file];
        let run = Clew::run(&lab).args(&["--stacks", "auto"]).start(&argv);
        until("requests have their stacks", || {
            let served = format!("\"{}\"", name("serve"));
            (run.otlp().matches(&served).count() >= 2).then_some(())
        });
        lab.file("stop", "");
        let out = run.wait();
        out.check_eq(out.code, 0, "the program's end");
        let span = out.only(Kind::Server, &format!("/{kind}"));
        out.check_span(
            span,
            &[("clew.process.signal", signal), ("error.type", "process_exited")],
        );
        let [(_, of)] = span.events.as_slice() else {
            out.fail(&format!("{} events of {}", span.events.len(), span.brief()));
        };
        let text = |name: &str| of.get(name).map_or("", String::as_str);
        out.check_eq(
            (text("exception.type"), text("exception.message")),
            (signal, message),
            "what ended it",
        );
        let stack = text("exception.stacktrace");
        let functions = [kind, "handle", "serve"];
        let places = functions.map(|function| stack.find(&format!(": {}\n", name(function))));
        let in_order = places.is_sorted() && places.iter().all(Option::is_some);
        out.check(in_order, &format!("the functions of {stack}"));
        let path = Lab::workload(source);
        let lines = std::fs::read_to_string(&path).expect("read the program");
        let mark = format!("ends: {kind}");
        let line = lines
            .lines()
            .position(|line| line.ends_with(&mark))
            .expect("a marked line");
        let place = format!(": {}\n             at {path}:{}", name(kind), line + 1);
        out.check(stack.contains(&place), &format!("{place} in {stack}"));
    }
}

#[test]
fn what_ends_a_program_in_c() {
    let options = ["-O2", "-fomit-frame-pointer"];
    let program = |test: &str| Lab::compiled("c/crash.c", test, "cc", &options, Symbols::Within);
    check_ends("ends_c", program, "c/crash.c", plain);
}

#[test]
fn what_ends_a_program_in_rust() {
    let options = ["--edition=2024", "-O"];
    let program = |test: &str| Lab::compiled("rust/src/crash.rs", test, "rustc", &options, Symbols::Within);
    check_ends("ends_rust", program, "rust/src/crash.rs", |name| {
        format!("crash::{name}")
    });
}
