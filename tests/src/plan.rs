//! What `clew-drive` does inside `clew run`: start services, wait for them, load them, stop them.
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::http;
use crate::lab::Lab;
use crate::process::Proc;

/// A plan, handed to `clew-drive` as a JSON file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Plan {
    /// Started in this order, each when the one before listens; stopped in reverse order.
    pub services: Vec<Service>,
    /// What is done then, one after the other.
    pub loads: Vec<Load>,
    /// Milliseconds between the start of the services and the loads, and between the loads and the services' end.
    #[serde(default)]
    pub rest_ms: u64,
}

/// A program that listens on a port.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Service {
    /// Its command line.
    pub argv: Vec<String>,
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// Further variables.
    pub env: Vec<(String, String)>,
}

/// Something to do to the services.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Load {
    /// Requests `GET target?id=N` for N in `1..=requests`, from as many threads as `concurrency`, each with a connection
    /// of its own that is kept alive, or one for each request.
    Http {
        /// Port on 127.0.0.1.
        port: u16,
        /// The path.
        path: String,
        /// How many.
        requests: u64,
        /// From how many threads.
        concurrency: u64,
        /// One connection a thread.
        keep_alive: bool,
        /// Each request carries a trace context of its own (W3C `traceparent`), whose ids are its number.
        traced: bool,
    },
    /// Waits until something watches instructions of a program that runs.
    Probed {
        /// Its file.
        program: String,
    },
    /// A program that must succeed.
    Command {
        /// Its command line.
        argv: Vec<String>,
    },
    /// Programs that run at once and must all succeed.
    Commands {
        /// Their command lines.
        argvs: Vec<Vec<String>>,
    },
}

impl Plan {
    /// Adds a service.
    #[must_use]
    pub fn service(mut self, port: u16, argv: &[&str]) -> Self {
        let argv = argv.iter().map(|&word| word.to_owned()).collect();
        self.services.push(Service {
            argv,
            port,
            env: Vec::new(),
        });
        self
    }

    /// Lets Clew look at the programs before they are loaded, since what a program asks before that has no parent; and lets
    /// what they do behind their answers happen.
    #[must_use]
    pub fn rested(mut self) -> Self {
        self.rest_ms = 800;
        self
    }

    /// Gives the service added last a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        if let Some(service) = self.services.last_mut() {
            service.env.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Adds requests over kept connections.
    #[must_use]
    pub fn load(self, port: u16, path: &str, requests: u64, concurrency: u64) -> Self {
        self.http(port, path, requests, concurrency, true, false)
    }

    /// Adds requests over kept connections, each with a trace context of its own.
    #[must_use]
    pub fn load_traced(self, port: u16, path: &str, requests: u64, concurrency: u64) -> Self {
        self.http(port, path, requests, concurrency, true, true)
    }

    /// Adds requests that have a connection each.
    #[must_use]
    pub fn load_closing(self, port: u16, path: &str, requests: u64, concurrency: u64) -> Self {
        self.http(port, path, requests, concurrency, false, false)
    }

    fn http(mut self, port: u16, path: &str, requests: u64, concurrency: u64, keep_alive: bool, traced: bool) -> Self {
        let path = path.to_owned();
        self.loads.push(Load::Http {
            port,
            path,
            requests,
            concurrency,
            keep_alive,
            traced,
        });
        self
    }

    /// Waits until instructions of a service's program are watched.
    #[must_use]
    pub fn probed(mut self, program: &str) -> Self {
        let program = program.to_owned();
        self.loads.push(Load::Probed { program });
        self
    }

    /// Adds a program.
    #[must_use]
    pub fn command(mut self, argv: &[&str]) -> Self {
        let argv = argv.iter().map(|&word| word.to_owned()).collect();
        self.loads.push(Load::Command { argv });
        self
    }

    /// Adds programs that run at once.
    #[must_use]
    pub fn commands(mut self, argvs: Vec<Vec<String>>) -> Self {
        self.loads.push(Load::Commands { argvs });
        self
    }

    /// Starts the services, their output in files in `dir`. All of them listen then.
    ///
    /// # Errors
    /// When a service has no program.
    pub fn start(&self, dir: &Path) -> io::Result<Vec<Proc>> {
        let mut running = Vec::new();
        for (n, service) in self.services.iter().enumerate() {
            let program = service.argv.split_first();
            let (program, args) = program.ok_or_else(|| io::Error::other("a service without a program"))?;
            let mut command = Command::new(program);
            command.args(args).envs(service.env.iter().cloned());
            let mut proc = Proc::start(dir, &format!("service-{n}"), command);
            proc.until_listening(service.port);
            running.push(proc);
        }
        Ok(running)
    }

    /// The command line that carries the plan out; `drive` is `env!("CARGO_BIN_EXE_clew-drive")`.
    pub fn argv(&self, lab: &Lab, drive: &str) -> [String; 2] {
        let json = serde_json::to_string(self).expect("a plan is JSON");
        let file = lab.file("plan.json", &json);
        [drive.to_owned(), file.display().to_string()]
    }
}

impl Load {
    /// Does it.
    ///
    /// # Errors
    /// When a request is not answered with 200 or a program fails.
    pub fn carry_out(&self) -> io::Result<()> {
        match self {
            Self::Http {
                port,
                path,
                requests,
                concurrency,
                keep_alive,
                traced,
            } => std::thread::scope(|scope| {
                let threads: Vec<_> = (1..=*concurrency)
                    .map(|first| {
                        let numbers = (first..=*requests).step_by(usize::try_from(*concurrency).unwrap_or(1));
                        scope.spawn(move || load(*port, path, numbers, *keep_alive, *traced))
                    })
                    .collect();
                threads
                    .into_iter()
                    .try_for_each(|thread| thread.join().expect("the load panicked"))
            }),
            Self::Probed { program } => crate::probed::wait(Path::new(program)),
            Self::Command { argv } => {
                let status = crate::process::command(argv).status()?;
                if status.success() {
                    return Ok(());
                }
                Err(io::Error::other(format!("{argv:?}: {status}")))
            }
            Self::Commands { argvs } => {
                let started: io::Result<Vec<_>> =
                    argvs.iter().map(|argv| crate::process::command(argv).spawn()).collect();
                for (mut child, argv) in started?.into_iter().zip(argvs) {
                    let status = child.wait()?;
                    if !status.success() {
                        return Err(io::Error::other(format!("{argv:?}: {status}")));
                    }
                }
                Ok(())
            }
        }
    }
}

/// How long a request may go without a byte of its answer.
const PATIENCE: Duration = Duration::from_secs(30);

fn load(port: u16, path: &str, numbers: impl Iterator<Item = u64>, keep_alive: bool, traced: bool) -> io::Result<()> {
    let mut kept = None;
    for number in numbers {
        let mut stream = match kept.take() {
            Some(stream) => stream,
            None => http::connect(port, PATIENCE)?,
        };
        let mut headers = String::new();
        if !keep_alive {
            headers.push_str("Connection: close\r\n");
        }
        if traced {
            headers.push_str(&format!("traceparent: 00-{number:032x}-{number:016x}-01\r\n"));
        }
        let target = format!("{path}?id={number}");
        let answer = http::ask(&mut stream, &target, &headers)?;
        if answer.code != 200 {
            let body = String::from_utf8_lossy(&answer.body).into_owned();
            return Err(io::Error::other(format!("{target}: {}: {body}", answer.code)));
        }
        if keep_alive && !answer.closes {
            kept = Some(stream);
        }
    }
    Ok(())
}
