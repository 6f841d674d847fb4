//! The plugin folder, with everything in it that is no module, and without itself.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use wirepost::app::StartError;
use wirepost::config::{CheckOptions, SpoolPlace, load};
use wirepost::last_good::LastGood;
use wirepost::platform::clock::Clock;
use wirepost::platform::machine::Machine;
use wirepost::plugins::{Before, PluginSet, Surroundings};
use wirepost_tests::crash::binary;
use wirepost_tests::plugins::{another_build_of, install, module};
use wirepost_tests::sms::text;
use wirepost_tests::wait::until;
use wirepost_tests::world::{ROUTES, config, explain, folder, start, write};
use wirepost_tests::{Relay, Smsc, World};

/// Dropped files run, and the HTTP port is open.
const AUTO: &str = "plugins: { auto: true }\nadmin: { http: \"127.0.0.1:0\" }\n";
/// A user that this machine does not have.
const STRANGER: u32 = 4242;

/// A router into whose folder `scribe` was dropped, which rewrites texts.
struct Scene {
    world: World,
    smsc: Smsc,
    _relay: Relay,
    yaml: String,
}

impl Scene {
    async fn start() -> Self {
        let (relay, smsc) = (Relay::start().await, Smsc::start().await);
        let yaml = format!("{AUTO}{}", config(relay.address, smsc.address, ROUTES));
        let folder = folder(&yaml);
        install(folder.path(), "scribe.wasm", &module("scribe.wasm"));
        let world = World::start_in(folder).await;
        Self { world, smsc, _relay: relay, yaml }
    }

    fn plugins(&self) -> PathBuf {
        self.world.folder.path().join("plugins")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.plugins().join(name)
    }

    /// The dropped plugin does its work.
    async fn filters(&self, words: &str) {
        // The plugin takes one word.
        let words = words.replace(' ', "-");
        let before = self.smsc.taken().len();
        self.world.shop().await.submit(text("33612345678", &format!("text {words}"))).await;
        assert_eq!(self.smsc.wait(before + 1).await[before].short_message, *words.as_bytes());
    }

    /// The configuration with a route of this name, and whether it takes effect.
    async fn renames_a_route(&self, name: &str) -> wirepost::reload::Report {
        self.world.write_config(&self.yaml.replace("name: numbers", &format!("name: {name}")));
        let report = self.world.app().reload.reload(false).await;
        let generation = self.world.app().router.generation();
        let routes: Vec<&str> = generation.config.routes.iter().map(|route| &*route.name).collect();
        assert!(report.ok && routes.contains(&name), "{routes:?} {report:#?}");
        report
    }

    async fn wait_well(&self) {
        until("nothing wrong", || {
            self.world.app().router.generation().health.is_well().then_some(())
        })
        .await;
    }

    async fn metric(&self, line: &str) {
        let page = self.world.page("/metrics").await;
        assert!(page.lines().any(|known| known == line), "{line}\n{page}");
    }

    fn names(&self) -> Vec<String> {
        let labels = self.world.app().reload.plugins();
        labels.iter().filter_map(|label| Some(label.split_once('@')?.0.to_owned())).collect()
    }
}

/// What breaks a file.
type Break = fn(&Path);

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn make_pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Everything that is no module, and the names under which it must be shown.
fn litter(folder: &Path) -> Vec<String> {
    let path = |name: &str| folder.join(name);
    let scribe = module("scribe.wasm");
    make_pipe(&path("pipe.wasm"));
    fs::create_dir(path("folder.wasm")).unwrap();
    symlink("nothing", path("dangling.wasm")).unwrap();
    symlink("loop.wasm", path("loop.wasm")).unwrap();
    symlink("/dev/zero", path("zero.wasm")).unwrap();
    symlink("pipe.wasm", path("to-pipe.wasm")).unwrap();
    File::create(path("huge.wasm")).unwrap().set_len(2 << 30).unwrap();
    fs::write(path("junk.wasm"), "junk").unwrap();
    fs::write(path("sp ace.wasm"), &scribe).unwrap();
    fs::write(folder.join(OsStr::from_bytes(b"x\xff.wasm")), &scribe).unwrap();
    fs::write(path("open.wasm"), &scribe).unwrap();
    mode(&path("open.wasm"), 0o666);
    let mut names = [
        "pipe.wasm",
        "folder.wasm",
        "dangling.wasm",
        "loop.wasm",
        "zero.wasm",
        "to-pipe.wasm",
        "huge.wasm",
        "junk.wasm",
        "sp ace.wasm",
        "x\\xff.wasm",
        "open.wasm",
    ]
    .map(str::to_owned)
    .to_vec();
    fs::write(path("foreign.wasm"), &scribe).unwrap();
    if chown(path("foreign.wasm"), Some(STRANGER), None).is_ok() {
        names.push("foreign.wasm".to_owned());
    } else {
        fs::remove_file(path("foreign.wasm")).unwrap();
    }
    names.sort();
    names
}

#[tokio::test]
async fn what_is_no_module_is_shown_and_keeps_nothing_else_from_taking_effect() {
    let scene = Scene::start().await;
    let litter = litter(&scene.plugins());
    if !litter.iter().any(|name| name == "foreign.wasm") {
        println!("foreign.wasm: skipped, only root can give files away");
    }
    let report = scene.renames_a_route("digits").await;
    let shown: Vec<&str> = report.refused.keys().map(|name| &**name).collect();
    assert_eq!(shown, litter);
    for (name, why) in &report.refused {
        assert!(why.contains("(at ") && why.contains("; "), "step and remedy of {name}: {why}");
        assert!(report.lines.iter().any(|line| line.contains(&**name)), "{name}: {report:#?}");
    }
    let status = scene.world.status().await;
    assert_eq!(status["plugins_refused"].as_object().unwrap().len(), litter.len());
    scene.metric(&format!("wirepost_plugin_files_refused {}", litter.len())).await;
    scene.metric("wirepost_plugin_stale{name=\"junk.wasm\"} 1").await;
    assert_eq!(scene.names(), ["scribe"]);
    scene.filters("goes on").await;
    // The same again is refused again, and is no new generation.
    let again = scene.world.app().reload.reload(false).await;
    assert!(!again.ok && again.generation == report.generation, "{again:#?}");
    for entry in fs::read_dir(scene.plugins()).unwrap() {
        let path = entry.unwrap().path();
        match path.file_name() == Some(OsStr::new("scribe.wasm")) {
            true => {}
            false if path.is_dir() => fs::remove_dir(path).unwrap(),
            false => fs::remove_file(path).unwrap(),
        }
    }
    scene.wait_well().await;
    scene.metric("wirepost_plugin_files_refused 0").await;
    scene.filters("still").await;
}

#[tokio::test]
async fn many_broken_files_at_once_keep_nothing_else_from_taking_effect() {
    let scene = Scene::start().await;
    let scribe = module("scribe.wasm");
    for number in 0..57 {
        let length = scribe.len() * (number + 1) / 60;
        fs::write(scene.path(&format!("broken-{number}.wasm")), &scribe[..length]).unwrap();
    }
    let report = scene.renames_a_route("digits").await;
    assert_eq!(report.refused.len(), 57, "{report:#?}");
    assert_eq!(scene.names(), ["scribe"]);
    scene.metric("wirepost_plugin_files_refused 57").await;
    scene.filters("goes on").await;
}

#[tokio::test(start_paused = true)]
async fn files_that_look_half_copied_are_waited_for_together_and_once() {
    let folder = folder("plugins: { auto: true }\n");
    let main = folder.path().join("wirepost.yaml");
    let config = Arc::new(load(&main, CheckOptions::default()).config.unwrap());
    let surroundings = Surroundings {
        spool: spool::Spool::open_memory(spool::Options::new(|| Clock::system().instant()))
            .unwrap(),
        targets: Arc::default(),
        last_good: LastGood::of(&main, &SpoolPlace::Memory),
        lookups: None,
        compiler: wirepost::plugin::Compiler::default(),
    };
    let set = PluginSet::start(&Machine::from(Clock::system()), surroundings).unwrap();
    let refused = async || {
        let begun = Instant::now();
        let env = set.env(&config);
        let lines = set.load(&config, &env, Before::Nothing).await.unwrap_err();
        (lines.len(), begun.elapsed())
    };
    for number in 0..57 {
        install(folder.path(), &format!("p{number}.wasm"), b"\0asm");
    }
    let once = Duration::from_millis(400);
    assert_eq!(refused().await, (57, once));
    // What is known to be refused is not waited for again, what is new is.
    assert_eq!(refused().await, (57, Duration::ZERO));
    install(folder.path(), "p0.wasm", b"\0as");
    assert_eq!(refused().await, (57, once));
    set.forget_refusals();
    assert_eq!(refused().await, (57, once));
}

#[tokio::test]
async fn a_dropped_plugin_that_is_broken_later_goes_on_with_its_bytes_and_blocks_nothing() {
    let scene = Scene::start().await;
    let running = scene.world.app().reload.plugins();
    let ways: [(&str, Break); 5] = [
        ("junk", |path| fs::write(path, "junk").unwrap()),
        ("half", |path| fs::write(path, &module("scribe.wasm")[..5000]).unwrap()),
        ("writable", |path| mode(path, 0o666)),
        ("a pipe", |path| {
            fs::remove_file(path).unwrap();
            make_pipe(path);
        }),
        ("a link to nothing", |path| {
            fs::remove_file(path).unwrap();
            symlink("nothing", path).unwrap();
        }),
    ];
    for (way, (what, breaks)) in ways.into_iter().enumerate() {
        breaks(&scene.path("scribe.wasm"));
        let report = scene.renames_a_route(&format!("digits-{way}")).await;
        assert!(report.stale.contains_key("scribe"), "{what}: {report:#?}");
        assert_eq!(scene.world.app().reload.plugins(), running, "{what}");
        scene.metric("wirepost_plugin_stale{name=\"scribe\"} 1").await;
        scene.filters(what).await;
        install(scene.world.folder.path(), "scribe.wasm", &module("scribe.wasm"));
        scene.wait_well().await;
        scene.metric("wirepost_plugin_stale{name=\"scribe\"} 0").await;
    }
    // Its settings are those of today, also while its file is broken.
    fs::write(scene.path("scribe.wasm"), "junk").unwrap();
    let other = scene.yaml.replace("auto: true", "auto: true, defaults: { on_error: hold }");
    scene.world.write_config(&other);
    let report = scene.world.app().reload.reload(false).await;
    assert!(report.ok && report.stale.contains_key("scribe"), "{report:#?}");
    scene.filters("with other settings").await;
    // Removed on purpose it is retired.
    fs::remove_file(scene.path("scribe.wasm")).unwrap();
    until("no plugin", || scene.names().is_empty().then_some(())).await;
    scene.wait_well().await;
}

#[tokio::test]
async fn a_folder_that_goes_away_retires_nothing_and_blocks_nothing() {
    let scene = Scene::start().await;
    let away = scene.world.folder.path().join("away");
    fs::rename(scene.plugins(), &away).unwrap();
    let wrong = until("the folder is missed", || {
        scene.world.app().router.generation().health.folder.clone()
    })
    .await;
    assert!(wrong.contains("plugins") && wrong.contains("(at read); mount or make it"), "{wrong}");
    assert_eq!(scene.names(), ["scribe"]);
    scene.filters("without a folder").await;
    let status = scene.world.status().await;
    assert!(
        status["plugin_folder_stale"].is_string() && status["plugins_stale"]["scribe"].is_string()
    );
    scene.metric("wirepost_plugin_folder_stale 1").await;
    assert!(!scene.world.app().reload.reload(false).await.ok);
    scene.renames_a_route("digits").await;
    scene.filters("still without").await;
    fs::rename(&away, scene.plugins()).unwrap();
    scene.wait_well().await;
    scene.metric("wirepost_plugin_folder_stale 0").await;
    // Another folder that the YAML names is the YAML's mistake.
    scene.world.write_config(&scene.yaml.replace("auto: true", "auto: true, folder: elsewhere"));
    let report = scene.world.app().reload.reload(false).await;
    assert!(!report.ok && report.lines.join("\n").contains("elsewhere"), "{report:#?}");
    scene.filters("to the end").await;
}

#[tokio::test]
async fn a_start_without_the_folder_goes_on_with_what_ran_and_a_first_one_refuses() {
    let scene = Scene::start().await;
    let Scene { world, smsc, _relay, yaml } = scene;
    let folder = world.stop().await;
    fs::rename(folder.path().join("plugins"), folder.path().join("away")).unwrap();
    let world = World::start_in(folder).await;
    let scene = Scene { world, smsc, _relay, yaml };
    assert_eq!(scene.names(), ["scribe"]);
    scene.filters("from what was kept").await;
    assert!(scene.world.status().await["plugin_folder_stale"].is_string());
    let folder = scene.world.stop().await;
    let record = folder.path().join("spool/last-good");
    fs::rename(&record, folder.path().join("spool/aside")).unwrap();
    let error = explain(&start(&folder.path().join("wirepost.yaml")).await.unwrap_err());
    assert!(error.contains("plugin folder") && error.contains("mount or make it"), "{error}");
}

#[tokio::test]
async fn a_start_that_cannot_load_what_ran_refuses_and_so_does_a_first_one_with_a_broken_file() {
    let scene = Scene::start().await;
    let folder = scene.world.stop().await;
    let yaml = folder.path().join("wirepost.yaml");
    install(folder.path(), "scribe.wasm", b"junk");
    let contents = folder.path().join("spool/last-good/contents");
    for entry in fs::read_dir(&contents).unwrap() {
        let path = entry.unwrap().path();
        if fs::read(&path).unwrap().starts_with(b"\0asm") {
            fs::write(path, "junk").unwrap();
        }
    }
    let error = start(&yaml).await.unwrap_err();
    assert!(explain(&error).contains("scribe.wasm"), "{error}");
    fs::remove_dir_all(folder.path().join("spool/last-good")).unwrap();
    let error = start(&yaml).await.unwrap_err();
    assert!(matches!(&error, StartError::Plugins(_)), "{error}");
    assert!(explain(&error).contains("scribe.wasm"), "{error}");
    make_pipe(&folder.path().join("plugins/pipe.wasm"));
    install(folder.path(), "scribe.wasm", &module("scribe.wasm"));
    let error = start(&yaml).await.unwrap_err();
    assert!(explain(&error).contains("pipe.wasm"), "{error}");
}

#[tokio::test]
async fn a_mounted_configuration_map_is_a_folder_of_modules() {
    let scene = Scene::start().await;
    let scribe = module("scribe.wasm");
    fs::remove_file(scene.path("scribe.wasm")).unwrap();
    let mount = |data: &str, bytes: &[u8]| {
        fs::create_dir(scene.path(data)).unwrap();
        mode(&scene.path(data), 0o755);
        fs::write(scene.path(data).join("scribe.wasm"), bytes).unwrap();
        symlink(data, scene.path("..data_tmp")).unwrap();
        fs::rename(scene.path("..data_tmp"), scene.path("..data")).unwrap();
    };
    mount("..2026_11_30", &scribe);
    symlink("..data/scribe.wasm", scene.path("scribe.wasm")).unwrap();
    until("the plugin", || (scene.names() == ["scribe"]).then_some(())).await;
    let before = scene.world.app().reload.plugins();
    mount("..2026_12_01", &another_build_of(&scribe, 1));
    until("the other build", || (scene.world.app().reload.plugins() != before).then_some(())).await;
    scene.filters("from a map").await;
    scene.wait_well().await;
}

#[tokio::test]
async fn a_module_of_another_owner_runs_if_the_configuration_trusts_him() {
    let scene = Scene::start().await;
    if chown(scene.path("scribe.wasm"), Some(STRANGER), None).is_err() {
        println!("a_module_of_another_owner: skipped, only root can give files away");
        return;
    }
    let report = scene.renames_a_route("digits").await;
    let why = report.stale["scribe"].clone();
    assert!(why.contains("belongs to user 4242") && why.contains("`owners: 4242`"), "{why}");
    let trusting = scene.yaml.replace("auto: true", "auto: true, owners: [root, 4242]");
    scene.world.reload(&trusting).await;
    scene.wait_well().await;
    let unknown = scene.yaml.replace("auto: true", "auto: true, owners: nobody-of-this-name");
    scene.world.write_config(&unknown);
    let report = scene.world.app().reload.reload(false).await;
    assert!(!report.ok && report.lines.join("\n").contains("nobody-of-this-name"), "{report:#?}");
}

/// Octets that this process has read so far, from anywhere (proc(5)).
fn read_so_far() -> u64 {
    let counts = fs::read_to_string("/proc/self/io").unwrap();
    let line = counts.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap();
    line.parse().unwrap()
}

#[tokio::test]
async fn a_huge_file_beside_the_modules_is_not_read() {
    const HUGE: u64 = 2 << 30;
    let scene = Scene::start().await;
    let begun = read_so_far();
    for name in ["notes.bin", "huge.wasm"] {
        File::create(scene.path(name)).unwrap().set_len(HUGE).unwrap();
    }
    until("the refusal", || {
        let generation = scene.world.app().router.generation();
        generation.health.refused.contains_key("huge.wasm").then_some(())
    })
    .await;
    for mark in 0..3 {
        let before = scene.world.app().reload.plugins();
        install(
            scene.world.folder.path(),
            "scribe.wasm",
            &another_build_of(&module("scribe.wasm"), mark),
        );
        until("the swap", || (scene.world.app().reload.plugins() != before).then_some(())).await;
    }
    let read = read_so_far() - begun;
    assert!(read < HUGE, "{read} octets were read");
}

/// The program itself, which is killed if the test ends before it.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn ask(config: &Path, verb: &str) -> Output {
    let mut command = Command::new(binary().unwrap());
    command.arg(verb).arg("--config").arg(config).stdin(Stdio::null()).output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_in_the_folder_holds_up_neither_a_reload_nor_the_end() {
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    let yaml = config(relay.address, smsc.address, ROUTES);
    let folder = folder(&format!("plugins: {{ auto: true }}\n{yaml}"));
    install(folder.path(), "scribe.wasm", &module("scribe.wasm"));
    let config = folder.path().join("wirepost.yaml");
    let mut command = Command::new(binary().unwrap());
    command.arg("run").arg("--config").arg(&config).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut program = Program(command.spawn().unwrap());
    until("it answers", || ask(&config, "status").status.success().then_some(())).await;
    make_pipe(&folder.path().join("plugins/pipe.wasm"));
    write(&config, &format!("plugins: {{ auto: true }}\nlog: {{ filter: debug }}\n{yaml}"));
    let reload = ask(&config, "reload");
    let said = String::from_utf8_lossy(&reload.stdout).into_owned();
    // The watch may have been quicker, and then only the pipe is left to be told of.
    assert!(said.contains("pipe.wasm") || !reload.status.success(), "{reload:?}");
    let shown = String::from_utf8(ask(&config, "status").stdout).unwrap();
    assert!(shown.contains("PLUGIN pipe.wasm WAS REFUSED"), "{shown}");
    let pid = program.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let ended = until("its end", || program.0.try_wait().unwrap()).await;
    assert!(ended.success(), "{ended}");
}
