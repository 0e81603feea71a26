//! How many pods a Deployment may have too many and too few while it changes.

use k8s_openapi::{api::apps::v1::Deployment, apimachinery::pkg::util::intstr::IntOrString};

/// The numbers that bound a rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    /// Replicas asked for.
    pub replicas: i32,
    /// Pods allowed above that.
    pub max_surge: i32,
    /// Pods allowed to be missing from that.
    pub max_unavailable: i32,
    /// Whether old pods must be gone before new ones come.
    pub recreate: bool,
}

/// Whether the strategy is Recreate.
pub(super) fn is_recreate(deployment: &Deployment) -> bool {
    let strategy = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    strategy.is_some_and(|strategy| strategy.type_.as_deref() == Some("Recreate"))
}

impl Budget {
    /// The budget of a Deployment: percentages of its replicas, surge rounded up, unavailable
    /// rounded down, and never both zero, since then nothing could move.
    pub(super) fn of(deployment: &Deployment) -> Budget {
        let spec = deployment.spec.as_ref();
        let replicas = spec.and_then(|spec| spec.replicas).unwrap_or(1).max(0);
        if is_recreate(deployment) {
            return Budget { replicas, max_surge: 0, max_unavailable: 0, recreate: true };
        }
        let rolling = spec
            .and_then(|spec| spec.strategy.as_ref())
            .and_then(|strategy| strategy.rolling_update.as_ref());
        let quarter = IntOrString::String("25%".to_owned());
        let surge = rolling.and_then(|r| r.max_surge.as_ref()).unwrap_or(&quarter);
        let unavailable = rolling.and_then(|r| r.max_unavailable.as_ref()).unwrap_or(&quarter);
        let max_surge = resolve(surge, replicas, true);
        let mut max_unavailable = resolve(unavailable, replicas, false);
        if max_surge == 0 && max_unavailable == 0 {
            max_unavailable = 1;
        }
        let max_unavailable = max_unavailable.min(replicas);
        Budget { replicas, max_surge, max_unavailable, recreate: false }
    }

    /// Most pods there may be.
    pub(super) fn max_total(&self) -> i32 {
        self.replicas + self.max_surge
    }

    /// Fewest pods that must be available.
    pub(super) fn min_available(&self) -> i32 {
        self.replicas - self.max_unavailable
    }
}

fn resolve(value: &IntOrString, of: i32, round_up: bool) -> i32 {
    match value {
        IntOrString::Int(number) => (*number).max(0),
        IntOrString::String(text) => {
            let percent = text.strip_suffix('%').and_then(|digits| digits.parse::<i64>().ok());
            let hundredths = percent.unwrap_or(0).max(0) * i64::from(of);
            let whole = if round_up { (hundredths + 99) / 100 } else { hundredths / 100 };
            i32::try_from(whole).unwrap_or(i32::MAX)
        }
    }
}
