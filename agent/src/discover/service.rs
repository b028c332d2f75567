//! What a service is called: `service.name` and where it came from.
use super::Runtime;
use crate::percent;

/// Where a service's name came from, in the order asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceSource {
    /// `OTEL_SERVICE_NAME` of the process.
    Variable,
    /// `service.name` in `OTEL_RESOURCE_ATTRIBUTES` of the process.
    Attributes,
    /// The container's name.
    Container,
    /// The script, module or archive an interpreter runs.
    Script,
    /// The executable.
    Executable,
}

impl ServiceSource {
    /// The place in words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Variable => "OTEL_SERVICE_NAME",
            Self::Attributes => "service.name in OTEL_RESOURCE_ATTRIBUTES",
            Self::Container => "the container's name",
            Self::Script => "the script it runs",
            Self::Executable => "the executable's name",
        }
    }
}

/// What a process's own OpenTelemetry variables say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Declared {
    /// `OTEL_SERVICE_NAME`.
    pub(super) name: Option<String>,
    /// `OTEL_RESOURCE_ATTRIBUTES`.
    pub(super) attributes: Vec<(String, String)>,
}

impl Declared {
    /// Reads them from an environment.
    pub(super) fn read(environ: &[String]) -> Self {
        let variable = |name: &str| {
            environ
                .iter()
                .find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
                .filter(|value| !value.is_empty())
        };
        Self {
            name: variable("OTEL_SERVICE_NAME").map(str::to_owned),
            attributes: variable("OTEL_RESOURCE_ATTRIBUTES")
                .and_then(attributes)
                .unwrap_or_default(),
        }
    }

    /// Takes an attribute out.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let at = self.attributes.iter().position(|(key, _)| key == name)?;
        Some(self.attributes.remove(at).1).filter(|value| !value.is_empty())
    }
}

/// `key=value,...` with percent-encoded values. A list with any error is discarded whole, as the OpenTelemetry
/// specification (Resource SDK, "Specifying resource information via an environment variable") demands.
fn attributes(list: &str) -> Option<Vec<(String, String)>> {
    list.split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .map(|entry| {
            let (key, value) = entry.split_once('=')?;
            let decoded = |text: &str| String::from_utf8(percent::decoded(text.trim())?).ok();
            let (key, value) = (decoded(key)?, decoded(value)?);
            (!key.is_empty()).then_some((key, value))
        })
        .collect()
}

/// The name of what an interpreter runs.
pub(super) fn script(runtime: Runtime, args: &[String]) -> Option<String> {
    let rest = args.get(1..)?;
    match runtime {
        Runtime::Python => python(rest),
        Runtime::Node => file(
            rest,
            &[
                "-r",
                "--require",
                "--import",
                "--loader",
                "-C",
                "--conditions",
                "--env-file",
            ],
            &["-e", "-p", "--eval", "--print"],
        ),
        Runtime::Java | Runtime::JavaVirtual => java(rest),
        Runtime::Ruby => titled(args).or_else(|| ruby(rest)),
        Runtime::Php => file(rest, &["-c", "-d", "-S", "-t", "-z"], &["-r"]),
        _ => None,
    }
}

/// The first argument that is no option, without folder and extension. Options in `valued` take the next argument;
/// those in `inline` mean that there is no file.
fn file(args: &[String], valued: &[&str], inline: &[&str]) -> Option<String> {
    operand(args, valued, inline).and_then(|(path, _)| stem(path))
}

/// The first argument that is no option, and those after it.
fn operand<'a>(args: &'a [String], valued: &[&str], inline: &[&str]) -> Option<(&'a str, &'a [String])> {
    let mut at = 0;
    while let Some(arg) = args.get(at) {
        if inline.contains(&arg.as_str()) {
            return None;
        }
        at += 1;
        if valued.contains(&arg.as_str()) {
            at += 1;
        } else if arg == "--" {
            return Some((args.get(at)?, args.get(at + 1..)?));
        } else if !arg.starts_with('-') {
            return Some((arg, args.get(at..)?));
        }
    }
    None
}

/// A path's last part without its extension.
fn stem(path: &str) -> Option<String> {
    let name = path.rsplit('/').next()?;
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    (!stem.is_empty()).then(|| stem.to_owned())
}

/// Programs that serve another program: `gunicorn shop:app` is the shop.
const PYTHON_SERVERS: &[&str] = &[
    "gunicorn",
    "uvicorn",
    "hypercorn",
    "daphne",
    "waitress-serve",
    "granian",
];

fn python(args: &[String]) -> Option<String> {
    let valued = ["-W", "-X", "--check-hash-based-pycs"];
    if let Some(at) = args.iter().position(|arg| arg == "-m")
        && operand(args.get(..at)?, &valued, &["-c"]).is_none()
        && !args.get(..at)?.iter().any(|arg| arg == "-c")
    {
        let module = args.get(at + 1)?;
        return Some(served(module, args.get(at + 2..)?).unwrap_or_else(|| module.clone()));
    }
    let (path, rest) = operand(args, &valued, &["-c"])?;
    let name = stem(path)?;
    if let Some(app) = served(&name, rest) {
        return Some(app);
    }
    // A package run by its folder, or its own __main__.py, goes by the folder's name; Django's manage.py by its project.
    if matches!(name.as_str(), "__main__" | "manage") {
        let folder = path
            .rsplit('/')
            .nth(1)
            .filter(|folder| !matches!(*folder, "" | "." | ".."));
        return Some(folder.map_or(name, str::to_owned));
    }
    Some(name)
}

/// The application a known server serves: the last argument of the form `package.module:variable`.
fn served(server: &str, args: &[String]) -> Option<String> {
    if !PYTHON_SERVERS.contains(&server) {
        return None;
    }
    let name = |text: &str| {
        let letters = |part: &str| {
            part.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
                && part.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
        };
        text.split('.').all(letters)
    };
    args.iter().rev().find_map(|arg| {
        let (module, variable) = arg.split_once(':')?;
        // create_app() is a factory of an application.
        let variable = variable.split('(').next()?;
        (name(module) && name(variable)).then(|| module.to_owned())
    })
}

fn java(args: &[String]) -> Option<String> {
    let valued = [
        "-cp",
        "-classpath",
        "--class-path",
        "-p",
        "--module-path",
        "--add-modules",
        "--add-opens",
        "--add-exports",
        "--add-reads",
    ];
    if let Some(at) = args.iter().position(|arg| arg == "-jar") {
        return stem(args.get(at + 1)?);
    }
    if let Some(at) = args.iter().position(|arg| arg == "-m" || arg == "--module") {
        return args
            .get(at + 1)
            .map(|module| module.split('/').next().unwrap_or(module).to_owned());
    }
    let (class, _) = operand(args, &valued, &[])?;
    class
        .rsplit(['.', '/'])
        .next()
        .filter(|name| !name.is_empty())
        .map(|name| {
            // A single source file is named with its extension, of which the split above left "java".
            if name == "java" {
                stem(class).unwrap_or_else(|| name.to_owned())
            } else {
                name.to_owned()
            }
        })
}

/// Servers in Ruby write over their command line: `puma: cluster worker 0: 17 [shop]`.
fn titled(args: &[String]) -> Option<String> {
    let title = args.first()?;
    let name = title.split([' ', ':']).next()?;
    let is_program = name.contains('/') || name.starts_with("ruby") || name.len() == title.trim_end().len();
    (!is_program && !name.is_empty()).then(|| name.to_owned())
}

fn ruby(args: &[String]) -> Option<String> {
    let (path, rest) = operand(args, &["-r", "-I", "-C", "-E"], &["-e"])?;
    let name = stem(path)?;
    // A launcher goes by what it launches: `bundle exec puma`, `ruby bin/rails server`.
    match (name.as_str(), rest.first().map(String::as_str)) {
        ("bundle", Some("exec")) => rest.get(1).and_then(|program| stem(program)),
        _ => Some(name),
    }
}

/// The executable's own name, the last resort.
pub(super) fn executable(exe: &str) -> String {
    match exe.rsplit('/').next() {
        Some(name) if !name.is_empty() => name.to_owned(),
        _ => "unknown".to_owned(),
    }
}

/// Bytes of the name that the kernel gives a process (`TASK_COMM_LEN`, less the NUL).
const COMM_BYTES: usize = 15;

/// What a program of many names was called, if not by its executable's: a link leads to that. The kernel has named the process
/// `comm` after the link, and its command line begins with the same.
pub(super) fn linked(executable: &str, comm: &str, args: &[String]) -> Option<String> {
    let called = args.first()?.split(' ').next()?.rsplit('/').next()?;
    let begin = called.get(..COMM_BYTES).unwrap_or(called);
    (!comm.is_empty() && begin == comm && !executable.starts_with(comm)).then(|| called.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_many_names() {
        let linked = |executable: &str, comm: &str, line: &str| linked(executable, comm, &[line.to_owned()]);
        let called = |name: &str| Some(name.to_owned());
        assert_eq!(
            linked("redis-check-rdb", "redis-server", "redis-server 127.0.0.1:6379"),
            called("redis-server")
        );
        assert_eq!(
            linked("busybox", "a-name-of-many-", "/bin/a-name-of-many-letters"),
            called("a-name-of-many-letters")
        );
        assert_eq!(linked("python3.11", "python3", "python3"), None);
        // A script that its interpreter runs, and a process that gave itself a name.
        assert_eq!(linked("bash", "job.sh", "/bin/bash"), None);
        assert_eq!(linked("worker", "worker: 7", "worker: 7"), None);
        assert_eq!(linked("worker", "", ""), None);
    }

    fn check(runtime: Runtime, line: &str, want: &str) {
        let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let got = script(runtime, &args);
        assert_eq!(got.as_deref().unwrap_or("-"), want, "{line}");
    }

    #[test]
    fn python_programs() {
        for (line, want) in [
            ("python app.py", "app"),
            ("python3 -u -X dev /srv/shop/app.py --port 80", "app"),
            ("python -m http.server 8000", "http.server"),
            ("python -u -m pkg -c x", "pkg"),
            ("python /srv/shop/__main__.py", "shop"),
            ("python manage.py runserver", "manage"),
            ("python /srv/shop/manage.py runserver", "shop"),
            (
                "/venv/bin/python /venv/bin/gunicorn -b 127.0.0.1:80 shop.wsgi:app",
                "shop.wsgi",
            ),
            ("/venv/bin/python /venv/bin/gunicorn shop:create_app()", "shop"),
            ("python /venv/bin/gunicorn -c conf.py", "gunicorn"),
            ("python -m uvicorn main:app --host ::1", "main"),
            ("python -c import_x -m y", "-"),
            ("python", "-"),
            ("python -", "-"),
            ("python -W", "-"),
            ("python script -m other", "script"),
        ] {
            check(Runtime::Python, line, want);
        }
    }

    #[test]
    fn other_programs() {
        for (runtime, line, want) in [
            (Runtime::Node, "node server.js 8080", "server"),
            (
                Runtime::Node,
                "node --require ./hook.js --inspect dist/shop.mjs",
                "shop",
            ),
            (Runtime::Node, "node -e 1", "-"),
            (Runtime::Node, "node", "-"),
            (Runtime::Java, "java -Xmx1g -jar /opt/shop-1.2.jar --x", "shop-1.2"),
            (Runtime::Java, "java -cp a.jar:b.jar com.example.Shop x", "Shop"),
            (Runtime::Java, "java Shop.java", "Shop"),
            (
                Runtime::Java,
                "java -m com.example.shop/com.example.Main",
                "com.example.shop",
            ),
            (Runtime::Java, "java -jar", "-"),
            (Runtime::Ruby, "ruby -I lib app.rb", "app"),
            (Runtime::Ruby, "ruby /usr/bin/bundle exec puma", "puma"),
            (Runtime::Php, "php -S 127.0.0.1:80 router.php", "router"),
            (Runtime::Go, "shop serve", "-"),
        ] {
            check(runtime, line, want);
        }
        for (title, want) in [
            ("puma 5.6.5 (tcp://127.0.0.1:80) [shop]   ", Some("puma")),
            ("puma: cluster worker 0: 17 [shop]", Some("puma")),
            ("ruby   ", None),
            ("/opt/my ruby/bin/ruby", None),
            ("", None),
        ] {
            assert_eq!(script(Runtime::Ruby, &[title.to_owned()]).as_deref(), want, "{title}");
        }
        assert_eq!(executable("/usr/bin/shop"), "shop");
        assert_eq!(executable(""), "unknown");
    }

    #[test]
    fn variables() {
        let declared =
            |entries: &[&str]| Declared::read(&entries.iter().map(|&entry| entry.to_owned()).collect::<Vec<_>>());
        let mut all = declared(&[
            "OTEL_SERVICE_NAME_X=no",
            "OTEL_SERVICE_NAME=shop",
            "OTEL_RESOURCE_ATTRIBUTES=service.name=other, service.namespace=eu%2Dwest,team=a=b,",
        ]);
        assert_eq!(all.name.as_deref(), Some("shop"));
        assert_eq!(all.take("service.name").as_deref(), Some("other"));
        assert_eq!(all.take("service.namespace").as_deref(), Some("eu-west"));
        assert_eq!(all.attributes, [("team".to_owned(), "a=b".to_owned())]);
        for broken in ["a=b,c", "a=%2", "a=%zz", "a=%ff", "=x"] {
            let entry = format!("OTEL_RESOURCE_ATTRIBUTES={broken}");
            assert_eq!(declared(&[&entry]), Declared::default(), "{broken}");
        }
        assert_eq!(declared(&["OTEL_SERVICE_NAME="]), Declared::default());
    }
}
