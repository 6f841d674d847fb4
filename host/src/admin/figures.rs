//! What plugins count, gauge and observe, on the metrics page.

use std::fmt::Error;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;

use crate::config::Name;
use crate::generation::PluginSlot;
use crate::plugin::Figure;

/// Writes the figures of all plugins. Each kind of figure is one family, whose labels name the plugin
/// and what the plugin calls it.
pub(super) fn encode(
    plugins: &[PluginSlot],
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), Error> {
    let told: Vec<(&Name, &crate::plugin::Told)> =
        plugins.iter().filter_map(|slot| Some((&slot.config.name, slot.plugin.told()?))).collect();
    let all: Vec<(&Name, Box<str>, Figure)> = told
        .iter()
        .flat_map(|(plugin, figures)| {
            figures.all().into_iter().map(|(name, figure)| (*plugin, name, figure))
        })
        .collect();
    let families = [
        ("plugin_counter", "What plugins count, by plugin and name", MetricType::Counter),
        ("plugin_gauge", "What plugins gauge, by plugin and name", MetricType::Gauge),
        ("plugin_histogram", "What plugins observe, by plugin and name", MetricType::Histogram),
    ];
    for (family, help, kind) in families {
        let mut family = encoder.encode_descriptor(family, help, None, kind)?;
        for (plugin, name, figure) in &all {
            let figure: &dyn EncodeMetric = match (figure, kind) {
                (Figure::Counter(counter), MetricType::Counter) => counter,
                (Figure::Gauge(gauge), MetricType::Gauge) => gauge,
                (Figure::Histogram(histogram), MetricType::Histogram) => histogram,
                _ => continue,
            };
            let labels = [("plugin", &***plugin), ("name", &**name)];
            figure.encode(family.encode_family(&labels)?)?;
        }
    }
    let help = "Numbers of plugins that were not kept, for a name too many or none that can be one";
    let kind = MetricType::Counter;
    let mut family = encoder.encode_descriptor("plugin_metrics_refused", help, None, kind)?;
    for (plugin, figures) in told {
        figures.refused().encode(family.encode_family(&[("plugin", &**plugin)])?)?;
    }
    Ok(())
}
