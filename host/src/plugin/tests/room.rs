//! Few slots and many plugins: nobody pays for what another has.

use std::sync::Arc;
use std::time::Duration;

use super::{World, config, host_env, judge, module, sms};
use crate::plugin::{Fault, Host, Judgement, LoadStep, Options, Plugin};
use futures_util::future::{join, join_all};

fn host(instances_max: usize) -> Host {
    Host::start(Options { instances_max, ..Options::default() }).unwrap()
}

/// A plugin whose calls last until the world lets them read their key.
async fn load(host: &Host, name: &str, world: &Arc<World>) -> Arc<Plugin> {
    let mut config = config("scribe", "{}");
    config.name = name.into();
    config.limits.instances = 64;
    config.limits.time = Duration::from_secs(5);
    host.load(&Arc::new(config), module("scribe"), &host_env(world)).await.unwrap()
}

/// So many calls at one time, which end once `gate` is open and `meanwhile` is over.
async fn at_once<T>(
    plugin: &Arc<Plugin>,
    calls: usize,
    world: &Arc<World>,
    meanwhile: impl Future<Output = T>,
) -> (Vec<Result<Judgement, Fault>>, T) {
    let gate = world.close();
    let calls = (0..calls).map(|_| async { judge(plugin, &sms("get k"), world).await });
    let meanwhile = async {
        // Each call has run up to its key before this is polled.
        let seen = meanwhile.await;
        world.open(&gate);
        seen
    };
    join(join_all(calls), meanwhile).await
}

#[tokio::test]
async fn many_plugins_with_many_idle_instances_keep_nobody_from_work_and_reloads() {
    let (world, host) = (World::new(), host(16));
    let mut plugins = Vec::new();
    for n in 0..12 {
        plugins.push(load(&host, &format!("copy-{n}"), &world).await);
    }
    for plugin in &plugins {
        let (judged, ()) = at_once(plugin, 8, &world, async {}).await;
        assert!(judged.iter().all(Result::is_ok), "{judged:?}");
    }
    assert!(plugins.iter().map(|plugin| plugin.instances_idle()).sum::<usize>() <= 16);
    let swapped = load(&host, "copy-5", &world).await;
    assert!(judge(&swapped, &sms("get k"), &world).await.is_ok());
}

#[tokio::test]
async fn a_plugin_is_loaded_while_all_slots_have_work() {
    let (world, host) = (World::new(), host(4));
    let busy = load(&host, "busy", &world).await;
    let (judged, plugin) = at_once(&busy, 8, &world, load(&host, "new", &world)).await;
    assert!(judged.iter().all(Result::is_ok), "{judged:?}");
    assert!(judge(&plugin, &sms("get k"), &world).await.is_ok());
}

#[tokio::test]
async fn a_call_without_a_slot_is_put_off_by_the_router_and_no_fault_of_its_plugin() {
    let (world, host) = (World::new(), host(4));
    let busy = load(&host, "busy", &world).await;
    let mut hasty = config("scribe", "{}");
    hasty.limits.time = Duration::from_millis(20);
    let meanwhile = async {
        let hasty = host.load(&Arc::new(hasty), module("scribe"), &host_env(&world)).await.unwrap();
        judge(&hasty, &sms("delete"), &world).await
    };
    let (judged, put_off) = at_once(&busy, 8, &world, meanwhile).await;
    assert!(judged.iter().all(Result::is_ok), "{judged:?}");
    let Err(Fault::Busy(reason)) = put_off else { panic!("{put_off:?}") };
    assert!(reason.contains("all 4 instance slots"), "{reason}");
}

#[tokio::test]
async fn a_call_over_the_limit_of_instances_is_put_off_too() {
    let (world, host) = (World::new(), host(8));
    let mut narrow = config("scribe", "{}");
    (narrow.limits.instances, narrow.limits.time) = (1, Duration::from_millis(50));
    let plugin = host.load(&Arc::new(narrow), module("scribe"), &host_env(&world)).await.unwrap();
    let _gate = world.close();
    let message = sms("get k");
    // The first has its time, then the second; it is over for the third when it is for the first.
    let calls = join_all((0..3).map(|_| judge(&plugin, &message, &world)));
    let third = calls.await.pop().unwrap();
    let Err(Fault::Busy(reason)) = third else { panic!("{third:?}") };
    assert!(reason.contains("limits: instances"), "{reason}");
}

#[tokio::test]
async fn instances_that_the_traffic_of_late_did_not_need_go() {
    let (world, host) = (World::new(), host(16));
    let plugin = load(&host, "peak", &world).await;
    at_once(&plugin, 8, &world, async {}).await;
    assert_eq!(plugin.instances_idle(), 8);
    host.shrink_instances();
    assert_eq!(plugin.instances_idle(), 8);
    judge(&plugin, &sms("get k"), &world).await.unwrap();
    host.shrink_instances();
    assert_eq!(plugin.instances_idle(), 8);
    host.shrink_instances();
    host.shrink_instances();
    assert_eq!(plugin.instances_idle(), 1);
}

/// A component with three memories: three times a module with one.
#[tokio::test]
async fn a_plugin_that_needs_more_than_a_slot_has_is_refused_for_that() {
    let (world, host) = (World::new(), host(4));
    let module = b"\0asm\x01\0\0\0\x05\x03\x01\0\x01";
    let instances = [2, 10, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let size = u8::try_from(module.len()).unwrap();
    let component = [b"\0asm\x0d\0\x01\0", [1, size].as_slice(), module, &instances].concat();
    let config = Arc::new(config("large", "{}"));
    let refused = host.load(&config, component.into(), &host_env(&world)).await.unwrap_err();
    assert_eq!(refused.step, LoadStep::Compile, "{refused}");
    assert!(refused.reason.contains("3 Wasm linear memories"), "{refused}");
    assert!(refused.remedy.contains("fewer modules"), "{refused}");
}
