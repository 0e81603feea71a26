//! The demonstration's web server and client, in one static binary without dependencies.
//!
//! ```text
//! demo-web                 serve HTTP on $PORT (8080)
//! demo-web get URL         one GET; prints the body, exits 0 if the answer was a 2xx
//! demo-web loop URL        GET at $RATE per second (10), and serve the counts on $PORT
//! demo-web cat FILE | touch FILE | exit CODE | sleep SECONDS | hog MEBIBYTES | env
//! ```
//!
//! Settings come from the environment: `POD_NAME` (else `HOSTNAME`), `VERSION`, `READY=never`,
//! `DRAIN_SECONDS` (how long it goes on serving after SIGTERM, 5), `CONFIG_FILE`, `SECRET_WORD`.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::raw::c_int,
    process::exit,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

static TERMINATING: AtomicBool = AtomicBool::new(false);
static REQUESTS: AtomicU64 = AtomicU64::new(0);

/// Every request is logged up to here, then one in a hundred: a log must not grow with the load.
const REQUESTS_LOGGED_MAX: u64 = 200;
/// No peer may hold a thread for longer.
const IO_TIMEOUT: Duration = Duration::from_secs(2);
/// A request is failed when it takes longer than this; a busy machine is no failure.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How often and how long a name server is asked, as the C library does by default.
const QUERIES_MAX: usize = 2;
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);

unsafe extern "C" {
    fn signal(number: c_int, handler: usize) -> usize;
}

extern "C" fn terminate(_: c_int) {
    TERMINATING.store(true, Ordering::SeqCst);
}

fn main() {
    // SAFETY: the handler only stores to an atomic.
    unsafe {
        signal(15, terminate as *const () as usize);
        signal(2, terminate as *const () as usize);
    }
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] | ["serve"] => serve(Arc::new(Web::from_environment())),
        ["get", url] => get_once(url),
        ["loop", url] => serve(Arc::new(Load::start(url))),
        ["cat", path] => match fs::read(path) {
            Ok(bytes) => std::io::stdout().write_all(&bytes).unwrap_or_default(),
            Err(error) => fail(&format!("{path}: {error}")),
        },
        ["touch", path] => {
            if let Err(error) = fs::write(path, "") {
                fail(&format!("{path}: {error}"));
            }
        }
        ["exit", code] => exit(code.parse().unwrap_or(2)),
        ["sleep", seconds] => sleep_until_terminated(seconds.parse().unwrap_or(0.0)),
        ["hog", mebibytes] => hog(mebibytes),
        ["hold", mebibytes] => hold(mebibytes.parse().unwrap_or(1)),
        ["env"] => env::vars().for_each(|(name, value)| println!("{name}={value}")),
        _ => fail("usage: demo-web [serve | get URL | loop URL | cat FILE | touch FILE | exit CODE | sleep SECONDS | hog MEBIBYTES | env]"),
    }
}

fn fail(problem: &str) -> ! {
    eprintln!("demo-web: {problem}");
    exit(1)
}

fn setting(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn sleep_until_terminated(seconds: f64) {
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    while Instant::now() < end && !TERMINATING.load(Ordering::SeqCst) {
        thread::sleep(Duration::from_millis(50));
    }
}

/// Holds memory in a child, as a worker of a larger program would, and outlives it for a moment:
/// a runtime may lose the news of an out-of-memory kill when the whole container goes with it.
fn hog(mebibytes: &str) {
    let child = std::process::Command::new("/proc/self/exe").args(["hold", mebibytes]).status();
    match child {
        Ok(status) if status.code().is_none() => {
            eprintln!("demo-web: the child was killed");
            sleep_until_terminated(1.0);
            exit(137)
        }
        Ok(status) => exit(status.code().unwrap_or(1)),
        Err(error) => fail(&format!("cannot start a child: {error}")),
    }
}

fn hold(mebibytes: usize) {
    let mut held = Vec::new();
    for _ in 0..mebibytes {
        held.push(vec![1u8; 1 << 20]);
    }
    println!("holding {} MiB", held.len());
    sleep_until_terminated(f64::from(u32::MAX));
}

/// Answers a path with a status code and a body.
trait Answer: Send + Sync + 'static {
    fn answer(&self, path: &str) -> (u16, String);
}

fn pod_name() -> String {
    setting("POD_NAME").or_else(|| setting("HOSTNAME")).unwrap_or_else(|| "unknown".to_owned())
}

struct Web {
    pod: String,
    version: String,
    never_ready: bool,
    config_file: String,
}

impl Web {
    fn from_environment() -> Web {
        Web {
            pod: pod_name(),
            version: setting("VERSION").unwrap_or_else(|| "v0".to_owned()),
            never_ready: setting("READY").as_deref() == Some("never"),
            config_file: setting("CONFIG_FILE")
                .unwrap_or_else(|| "/etc/demo-web/message".to_owned()),
        }
    }
}

impl Answer for Web {
    fn answer(&self, path: &str) -> (u16, String) {
        match path {
            "/" => (200, format!("{} {}\n", self.pod, self.version)),
            "/healthz" => (200, "ok\n".to_owned()),
            "/readyz" if self.never_ready => (503, "never ready\n".to_owned()),
            "/readyz" => (200, "ok\n".to_owned()),
            "/config" => match fs::read_to_string(&self.config_file) {
                Ok(text) => (200, text),
                Err(error) => (404, format!("{}: {error}\n", self.config_file)),
            },
            "/secret" => match setting("SECRET_WORD") {
                Some(word) => (200, format!("a secret of {} letters\n", word.chars().count())),
                None => (404, "SECRET_WORD is not set\n".to_owned()),
            },
            _ => match path.strip_prefix("/exit/").and_then(|code| code.parse().ok()) {
                Some(code) => exit(code),
                None => (404, "not found\n".to_owned()),
            },
        }
    }
}

/// Sends requests at a steady rate and counts what came back.
struct Load {
    counts: Arc<Mutex<Counts>>,
}

#[derive(Default)]
struct Counts {
    sent: u64,
    failed: u64,
    last_error: String,
    answers: BTreeMap<String, u64>,
}

/// Distinct answers that are counted one by one; the rest is counted together.
const ANSWERS_MAX: usize = 100;

impl Load {
    fn start(url: &str) -> Load {
        let rate: f64 = setting("RATE").and_then(|rate| rate.parse().ok()).unwrap_or(10.0);
        let counts = Arc::new(Mutex::new(Counts::default()));
        let (target, sink) = (url.to_owned(), counts.clone());
        thread::spawn(move || {
            let period = Duration::from_secs_f64(1.0 / rate.clamp(0.1, 1000.0));
            let mut next = Instant::now();
            loop {
                let outcome = get(&target);
                sink.lock().expect("counting does not panic").record(outcome);
                next += period;
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        });
        Load { counts }
    }
}

impl Counts {
    fn record(&mut self, outcome: Result<(u16, String), String>) {
        self.sent += 1;
        match outcome {
            Ok((200..=299, body)) => {
                let mut answer = body.trim().to_owned();
                if self.answers.len() >= ANSWERS_MAX && !self.answers.contains_key(&answer) {
                    answer = "(others)".to_owned();
                }
                *self.answers.entry(answer).or_default() += 1;
            }
            Ok((code, _)) => self.fail(format!("status {code}")),
            Err(error) => self.fail(error),
        }
    }

    fn fail(&mut self, error: String) {
        self.failed += 1;
        if self.failed <= REQUESTS_LOGGED_MAX {
            println!("request {} failed: {error}", self.sent);
        }
        self.last_error = error;
    }

    fn json(&self) -> String {
        let answers: Vec<String> =
            self.answers.iter().map(|(answer, n)| format!("{}:{n}", quoted(answer))).collect();
        format!(
            "{{\"sent\":{},\"failed\":{},\"last_error\":{},\"answers\":{{{}}}}}\n",
            self.sent,
            self.failed,
            quoted(&self.last_error),
            answers.join(",")
        )
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

impl Answer for Load {
    fn answer(&self, path: &str) -> (u16, String) {
        match path {
            "/" => (200, self.counts.lock().expect("counting does not panic").json()),
            "/healthz" | "/readyz" => (200, "ok\n".to_owned()),
            _ => (404, "not found\n".to_owned()),
        }
    }
}

fn serve(answers: Arc<dyn Answer>) {
    let port: u16 = setting("PORT").and_then(|port| port.parse().ok()).unwrap_or(8080);
    let listener = match TcpListener::bind((IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)) {
        Ok(listener) => listener,
        Err(error) => fail(&format!("cannot listen on port {port}: {error}")),
    };
    println!(
        "{} {} serves on port {port}",
        pod_name(),
        setting("VERSION").unwrap_or_else(|| "v0".to_owned())
    );
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answers = answers.clone();
            let spawned = thread::Builder::new().stack_size(128 << 10).spawn(move || {
                // A peer that goes away is its own business.
                let _ = converse(&stream, &*answers);
            });
            if let Err(error) = spawned {
                println!("cannot answer: {error}");
            }
        }
    });
    while !TERMINATING.load(Ordering::SeqCst) {
        thread::sleep(Duration::from_millis(20));
    }
    let drain: f64 = setting("DRAIN_SECONDS").and_then(|s| s.parse().ok()).unwrap_or(5.0);
    println!("terminating, serving on for {drain} s");
    thread::sleep(Duration::from_secs_f64(drain.clamp(0.0, 3600.0)));
    println!("done after {} requests", REQUESTS.load(Ordering::Relaxed));
}

fn converse(stream: &TcpStream, answers: &dyn Answer) -> std::io::Result<()> {
    stream.set_read_timeout(Some(IO_TIMEOUT))?;
    stream.set_write_timeout(Some(IO_TIMEOUT))?;
    let mut reader = BufReader::new(stream.take(16 << 10));
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut header = String::new();
    while reader.read_line(&mut header)? > 2 {
        header.clear();
    }
    let path = request.split_whitespace().nth(1).unwrap_or("/");
    let path = path.split('?').next().unwrap_or("/");
    let (code, body) = answers.answer(path);
    let number = REQUESTS.fetch_add(1, Ordering::Relaxed) + 1;
    if number <= REQUESTS_LOGGED_MAX || number.is_multiple_of(100) {
        println!("request {number}: {path} -> {code}");
    }
    let reason = if code == 200 { "OK" } else { "Other" };
    let mut writer = stream;
    write!(
        writer,
        "HTTP/1.1 {code} {reason}\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn get_once(url: &str) {
    match get(url) {
        Ok((code, body)) => {
            print!("{body}");
            if !(200..300).contains(&code) {
                fail(&format!("{url}: status {code}"));
            }
        }
        Err(error) => fail(&format!("{url}: {error}")),
    }
}

fn get(url: &str) -> Result<(u16, String), String> {
    let rest = url.strip_prefix("http://").ok_or("only http:// URLs")?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().map_err(|_| format!("bad port {port:?}"))?),
        None => (authority, 80),
    };
    let address = SocketAddr::new(resolve(host)?, port);
    let mut stream = TcpStream::connect_timeout(&address, REQUEST_TIMEOUT)
        .map_err(|error| format!("connect to {address}: {error}"))?;
    let failed = |error: std::io::Error| format!("talk to {address}: {error}");
    stream.set_read_timeout(Some(REQUEST_TIMEOUT)).map_err(failed)?;
    write!(stream, "GET /{path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n")
        .map_err(failed)?;
    let mut answer = String::new();
    stream.take(1 << 20).read_to_string(&mut answer).map_err(failed)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no HTTP answer")?;
    let code = head.split_whitespace().nth(1).and_then(|code| code.parse().ok());
    Ok((code.ok_or("no status code")?, body.to_owned()))
}

/// A static program cannot load the C library's resolver, so it asks by itself.
fn resolve(host: &str) -> Result<IpAddr, String> {
    if let Ok(address) = host.parse() {
        return Ok(address);
    }
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    for line in hosts.lines() {
        let mut words = line.split('#').next().unwrap_or("").split_whitespace();
        let address = words.next().and_then(|word| word.parse().ok());
        if let Some(address) = address
            && words.any(|name| name == host)
        {
            return Ok(address);
        }
    }
    let conf = fs::read_to_string("/etc/resolv.conf").map_err(|e| format!("resolv.conf: {e}"))?;
    let values = |key: &str| -> Vec<String> {
        conf.lines()
            .filter_map(|line| line.strip_prefix(key))
            .flat_map(|rest| rest.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            .collect()
    };
    let mut names: Vec<String> = Vec::new();
    if !host.ends_with('.') {
        names.extend(values("search ").iter().map(|domain| format!("{host}.{domain}")));
    }
    let bare = host.trim_end_matches('.').to_owned();
    if host.matches('.').count() >= 5 {
        names.insert(0, bare);
    } else {
        names.push(bare);
    }
    let servers = values("nameserver ");
    for name in &names {
        let mut answered = false;
        for server in (0..QUERIES_MAX).flat_map(|_| &servers) {
            match query(server, name) {
                Some(Some(address)) => return Ok(address),
                Some(None) => {
                    answered = true;
                    break;
                }
                None => {}
            }
        }
        if !answered {
            return Err(format!("no name server of {servers:?} answers about {name:?}"));
        }
    }
    Err(format!("{servers:?} know no {host:?}"))
}

/// `None`: no answer; `Some(None)`: there is no such name.
fn query(server: &str, name: &str) -> Option<Option<IpAddr>> {
    let server: IpAddr = server.parse().ok()?;
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.set_read_timeout(Some(QUERY_TIMEOUT)).ok()?;
    let mut packet = vec![0x4b, 0x6b, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        packet.push(u8::try_from(label.len()).ok()?);
        packet.extend_from_slice(label.as_bytes());
    }
    packet.extend_from_slice(&[0, 0, 1, 0, 1]);
    socket.send_to(&packet, (server, 53)).ok()?;
    let mut answer = [0u8; 4096];
    let length = socket.recv(&mut answer).ok()?;
    Some(first_address(&answer[..length], packet.len()))
}

/// The first A record of a DNS answer whose question ends at `questions_end`.
fn first_address(answer: &[u8], questions_end: usize) -> Option<IpAddr> {
    let count = u16::from_be_bytes([*answer.get(6)?, *answer.get(7)?]);
    let mut at = questions_end;
    for _ in 0..count {
        while *answer.get(at)? != 0 && *answer.get(at)? < 0xc0 {
            at += usize::from(answer[at]) + 1;
        }
        at += if answer[at] == 0 { 1 } else { 2 };
        let fixed = answer.get(at..at + 10)?;
        let (kind, length) =
            (u16::from_be_bytes([fixed[0], fixed[1]]), u16::from_be_bytes([fixed[8], fixed[9]]));
        at += 10;
        if kind == 1 && length == 4 {
            let octets: [u8; 4] = answer.get(at..at + 4)?.try_into().ok()?;
            return Some(IpAddr::V4(Ipv4Addr::from(octets)));
        }
        at += usize::from(length);
    }
    None
}
