//! Who speaks to whom: checked on every call, before anything is done with it.

use tonic::{Status, metadata::MetadataMap};

use crate::{
    store::{ClusterIdentity, PROTOCOL_VERSION},
    types::MemberId,
};

const PROTOCOL: &str = "kontiki-protocol";
const CLUSTER: &str = "kontiki-cluster";
const GENERATION: &str = "kontiki-generation";
const FROM: &str = "kontiki-from";
const TO: &str = "kontiki-to";

/// What a caller says about itself and about whom it wants to reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) protocol: u32,
    pub(crate) cluster: ClusterIdentity,
    pub(crate) from: MemberId,
    pub(crate) to: MemberId,
}

/// What becomes of a call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Serve it.
    Admit,
    /// Serve it after joining the caller's cluster.
    Adopt,
}

/// Why a call is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stranger {
    #[error("protocol {theirs} is too far from {ours}, which this member speaks")]
    Protocol { theirs: u32, ours: u32 },
    #[error("this is member {actual}, not {expected}")]
    WrongMember { expected: MemberId, actual: MemberId },
    #[error("this member's data folder belongs to cluster {ours:016x}, not to {theirs:016x}")]
    OtherCluster { theirs: u64, ours: u64 },
    #[error("this cluster was restored: it is at generation {ours}, the caller at {theirs}")]
    OtherGeneration { theirs: u64, ours: u64 },
}

/// Decides about a call. Pure.
pub(super) fn judge(
    claim: &Claim,
    own: MemberId,
    cluster: Option<ClusterIdentity>,
) -> Result<Verdict, Stranger> {
    if claim.protocol.abs_diff(PROTOCOL_VERSION) > 1 {
        return Err(Stranger::Protocol { theirs: claim.protocol, ours: PROTOCOL_VERSION });
    }
    if claim.to != own {
        return Err(Stranger::WrongMember { expected: claim.to, actual: own });
    }
    let Some(ours) = cluster else { return Ok(Verdict::Adopt) };
    if claim.cluster.id != ours.id {
        return Err(Stranger::OtherCluster { theirs: claim.cluster.id, ours: ours.id });
    }
    if claim.cluster.generation != ours.generation {
        let theirs = claim.cluster.generation;
        return Err(Stranger::OtherGeneration { theirs, ours: ours.generation });
    }
    Ok(Verdict::Admit)
}

impl Claim {
    /// Writes the claim into a call.
    pub(super) fn write(&self, metadata: &mut MetadataMap) {
        metadata.insert(PROTOCOL, self.protocol.into());
        metadata.insert(CLUSTER, self.cluster.id.into());
        metadata.insert(GENERATION, self.cluster.generation.into());
        metadata.insert(FROM, self.from.0.into());
        metadata.insert(TO, self.to.0.into());
    }

    /// Reads the claim of a call.
    pub(super) fn read(metadata: &MetadataMap) -> Result<Claim, Status> {
        let number = |name: &str| -> Result<u64, Status> {
            metadata
                .get(name)
                .and_then(|value| value.to_str().ok())
                .and_then(|value| value.parse().ok())
                .ok_or_else(|| Status::invalid_argument(format!("no valid {name} in the call")))
        };
        Ok(Claim {
            protocol: u32::try_from(number(PROTOCOL)?).unwrap_or(u32::MAX),
            cluster: ClusterIdentity { id: number(CLUSTER)?, generation: number(GENERATION)? },
            from: MemberId(number(FROM)?),
            to: MemberId(number(TO)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: ClusterIdentity = ClusterIdentity { id: 1, generation: 2 };

    #[test]
    fn only_members_of_the_cluster_are_admitted() {
        let me = MemberId(5);
        let good = Claim { protocol: 1, cluster: OURS, from: MemberId(4), to: me };
        let restored = ClusterIdentity { generation: 3, ..OURS };
        let other = ClusterIdentity { id: 9, ..OURS };
        let cases = [
            (good, Some(OURS), Ok(Verdict::Admit)),
            (good, None, Ok(Verdict::Adopt)),
            (
                Claim { protocol: 3, ..good },
                Some(OURS),
                Err(Stranger::Protocol { theirs: 3, ours: 1 }),
            ),
            (
                Claim { to: MemberId(6), ..good },
                None,
                Err(Stranger::WrongMember { expected: MemberId(6), actual: me }),
            ),
            (
                Claim { cluster: other, ..good },
                Some(OURS),
                Err(Stranger::OtherCluster { theirs: 9, ours: 1 }),
            ),
            (
                Claim { cluster: restored, ..good },
                Some(OURS),
                Err(Stranger::OtherGeneration { theirs: 3, ours: 2 }),
            ),
        ];
        for (claim, cluster, expected) in cases {
            assert_eq!(judge(&claim, me, cluster), expected, "{claim:?}");
        }
    }

    #[test]
    fn a_claim_survives_the_wire() {
        let claim = Claim { protocol: 1, cluster: OURS, from: MemberId(u64::MAX), to: MemberId(3) };
        let mut metadata = MetadataMap::new();
        claim.write(&mut metadata);
        assert_eq!(Claim::read(&metadata).unwrap(), claim);
        assert!(Claim::read(&MetadataMap::new()).is_err());
    }
}
