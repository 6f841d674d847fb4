//! The router itself under the loads that its peers get, with a plugin and durable as always.

use anyhow::{Context, Result, ensure};

use super::table::Row;
use super::{Shape, mail};
use crate::bench::running::{Built, Running};
use crate::bench::scenario::{Protocol, SCENARIOS};

/// From a protocol to the same through a plugin, one row for each shape.
pub(super) fn measure(built: &Built, protocol: Protocol, shapes: &[Shape]) -> Result<Vec<Row>> {
    let same = |s: &&super::super::Scenario| s.from == protocol && s.to == protocol && s.plugin;
    let scenario = SCENARIOS.iter().find(same).context("there is no such scenario")?;
    let running = Running::start(built, scenario)?;
    let mut rows = Vec::new();
    for &shape in shapes {
        ensure!(shape.count > 0, "nothing to send");
        let sent = running.send(shape)?;
        rows.push(Row {
            who: "wirepost",
            what: if protocol == Protocol::Smtp { mail(shape) } else { "SMPP relay" },
            shape,
            accepted_per_second: Some(sent.load.per_second),
            delivered_per_second: sent.delivered_per_second,
            cpu_us: sent.spent.total_us() / shape.count,
            latency: Some(sent.load),
            syncs_per_1000: Some(sent.syncs * 1000 / shape.count),
        });
    }
    Ok(rows)
}
