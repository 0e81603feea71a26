//! Who speaks to whom: checked on every call, before anything is done with it.

use tonic::{
    Status,
    metadata::{MetadataMap, MetadataValue},
};

use crate::{store::ClusterIdentity, types::MemberId};

const PROTOCOL: &str = "kontiki-protocol";
const CLUSTER: &str = "kontiki-cluster";
const GENERATION: &str = "kontiki-generation";
const FROM: &str = "kontiki-from";
const TO: &str = "kontiki-to";
const PASS_ON: &str = "kontiki-pass-on";
const PASSED_ON: &str = "kontiki-passed-on";
const REFUSAL: &str = "kontiki-refusal";

/// In the place of a member's id: whoever is there.
pub(crate) const ANYBODY: MemberId = MemberId(0);

/// What a caller says about itself and about whom it wants to reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) protocol: u32,
    pub(crate) cluster: ClusterIdentity,
    pub(crate) from: MemberId,
    pub(crate) to: MemberId,
    pub(crate) way: Way,
}

/// Which way a call takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Way {
    /// From who asks to who is asked.
    #[default]
    Direct,
    /// A member is asked to pass it on.
    Over(MemberId),
    /// A member has passed it on: it is not passed on again.
    PassedOnBy(MemberId),
}

/// What a member knows when it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Called {
    pub(super) member: MemberId,
    pub(super) cluster: Option<ClusterIdentity>,
    pub(super) protocol: u32,
    /// Whether the caller was removed from the cluster.
    pub(super) removed: bool,
    /// Whether the call is one that anybody may answer.
    pub(super) greeting: bool,
}

/// What becomes of a call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Serve it.
    Admit,
    /// Serve it after joining the caller's cluster.
    Adopt,
    /// Pass it on to whom it is for.
    PassOn,
}

/// Why a call is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stranger {
    #[error("version {theirs} is too far from {ours}, which this member speaks")]
    Protocol { theirs: u32, ours: u32 },
    #[error("this is member {actual}, not {expected}")]
    WrongMember { expected: MemberId, actual: MemberId },
    #[error("this member's data folder belongs to cluster {ours:016x}, not to {theirs:016x}")]
    OtherCluster { theirs: u64, ours: u64 },
    #[error(
        "this cluster was restored or recovered: it is at generation {ours}, the caller at {theirs}"
    )]
    OtherGeneration { theirs: u64, ours: u64 },
    #[error("member {member} was removed from this cluster")]
    Removed { member: MemberId },
}

/// What a refusal means for the caller beyond the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is no member any more, for good.
    Removed,
    /// The cluster goes on without those of its generation.
    Outlived,
}

impl Stranger {
    /// The answer to the call.
    pub(super) fn status(&self) -> Status {
        let mut status = Status::failed_precondition(self.to_string());
        let refusal = match self {
            Stranger::Removed { .. } => "removed",
            Stranger::OtherGeneration { theirs, ours } if theirs < ours => "outlived",
            _ => return status,
        };
        status.metadata_mut().insert(REFUSAL, MetadataValue::from_static(refusal));
        status
    }
}

impl Refusal {
    /// What an answer means beyond its call.
    pub(super) fn of(status: &Status) -> Option<Refusal> {
        match status.metadata().get(REFUSAL)?.to_str().ok()? {
            "removed" => Some(Refusal::Removed),
            "outlived" => Some(Refusal::Outlived),
            _ => None,
        }
    }
}

/// Decides about a call. Pure.
pub(super) fn judge(claim: &Claim, called: &Called) -> Result<Verdict, Stranger> {
    let Called { member, protocol, .. } = *called;
    if claim.protocol.abs_diff(protocol) > 1 {
        return Err(Stranger::Protocol { theirs: claim.protocol, ours: protocol });
    }
    if let Some(ours) = called.cluster {
        if claim.cluster.id != ours.id {
            return Err(Stranger::OtherCluster { theirs: claim.cluster.id, ours: ours.id });
        }
        let (theirs, ours) = (claim.cluster.generation, ours.generation);
        if theirs != ours {
            return Err(Stranger::OtherGeneration { theirs, ours });
        }
        if called.removed {
            return Err(Stranger::Removed { member: claim.from });
        }
    }
    if claim.to == ANYBODY && called.greeting {
        return Ok(Verdict::Admit);
    }
    if claim.to != member && claim.way == Way::Over(member) && called.cluster.is_some() {
        return Ok(Verdict::PassOn);
    }
    if claim.to != member {
        return Err(Stranger::WrongMember { expected: claim.to, actual: member });
    }
    Ok(if called.cluster.is_some() { Verdict::Admit } else { Verdict::Adopt })
}

impl Claim {
    /// Who is dialled.
    pub(crate) fn next_hop(&self) -> MemberId {
        match self.way {
            Way::Over(by) => by,
            Way::Direct | Way::PassedOnBy(_) => self.to,
        }
    }

    /// Who dials.
    pub(crate) fn last_hop(&self) -> MemberId {
        match self.way {
            Way::PassedOnBy(by) => by,
            Way::Direct | Way::Over(_) => self.from,
        }
    }

    /// Over whom it goes, if not directly.
    pub(super) fn over(&self) -> Option<MemberId> {
        match self.way {
            Way::Over(by) => Some(by),
            Way::Direct | Way::PassedOnBy(_) => None,
        }
    }

    /// Adds the claim to a call.
    pub(super) fn write(&self, metadata: &mut MetadataMap) {
        metadata.insert(PROTOCOL, self.protocol.into());
        metadata.insert(CLUSTER, self.cluster.id.into());
        metadata.insert(GENERATION, self.cluster.generation.into());
        metadata.insert(FROM, self.from.0.into());
        metadata.insert(TO, self.to.0.into());
        match self.way {
            Way::Direct => {}
            Way::Over(by) => drop(metadata.insert(PASS_ON, by.0.into())),
            Way::PassedOnBy(by) => drop(metadata.insert(PASSED_ON, by.0.into())),
        }
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
        let member = |name: &str| -> Result<Option<MemberId>, Status> {
            metadata.get(name).map(|_| number(name).map(MemberId)).transpose()
        };
        let way = match (member(PASS_ON)?, member(PASSED_ON)?) {
            (_, Some(by)) => Way::PassedOnBy(by),
            (Some(by), None) => Way::Over(by),
            (None, None) => Way::Direct,
        };
        Ok(Claim {
            protocol: u32::try_from(number(PROTOCOL)?).unwrap_or(u32::MAX),
            cluster: ClusterIdentity { id: number(CLUSTER)?, generation: number(GENERATION)? },
            from: MemberId(number(FROM)?),
            to: MemberId(number(TO)?),
            way,
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
        let good =
            Claim { protocol: 1, cluster: OURS, from: MemberId(4), to: me, way: Way::Direct };
        let called = Called {
            member: me,
            cluster: Some(OURS),
            protocol: 1,
            removed: false,
            greeting: false,
        };
        let waiting = Called { cluster: None, ..called };
        let anybody = Claim { to: ANYBODY, ..good };
        let old = Claim { cluster: ClusterIdentity { generation: 1, ..OURS }, ..good };
        let other = Claim { cluster: ClusterIdentity { id: 9, ..OURS }, ..good };
        let wrong = |expected| Err(Stranger::WrongMember { expected, actual: me });
        let outlived = Err(Stranger::OtherGeneration { theirs: 1, ours: 2 });
        let cases = [
            (good, called, Ok(Verdict::Admit)),
            (good, waiting, Ok(Verdict::Adopt)),
            (Claim { protocol: 2, ..good }, called, Ok(Verdict::Admit)),
            (Claim { protocol: 3, ..good }, called, Err(Stranger::Protocol { theirs: 3, ours: 1 })),
            (Claim { to: MemberId(6), ..good }, waiting, wrong(MemberId(6))),
            (other, called, Err(Stranger::OtherCluster { theirs: 9, ours: 1 })),
            (old, called, outlived),
            // Whoever asks for a member of before learns that there is nobody of that time.
            (
                Claim { to: MemberId(6), ..old },
                called,
                Err(Stranger::OtherGeneration { theirs: 1, ours: 2 }),
            ),
            (
                good,
                Called { removed: true, ..called },
                Err(Stranger::Removed { member: good.from }),
            ),
            (anybody, called, wrong(ANYBODY)),
            (anybody, Called { greeting: true, ..called }, Ok(Verdict::Admit)),
            // What is for another is passed on, once, and by members only.
            (Claim { to: MemberId(6), way: Way::Over(me), ..good }, called, Ok(Verdict::PassOn)),
            (Claim { to: MemberId(6), way: Way::Over(me), ..good }, waiting, wrong(MemberId(6))),
            (
                Claim { to: MemberId(6), way: Way::Over(MemberId(7)), ..good },
                called,
                wrong(MemberId(6)),
            ),
            (
                Claim { to: MemberId(6), way: Way::PassedOnBy(me), ..good },
                called,
                wrong(MemberId(6)),
            ),
            (Claim { way: Way::PassedOnBy(MemberId(7)), ..good }, called, Ok(Verdict::Admit)),
            // Nobody in particular adopts nobody.
            (anybody, Called { greeting: true, ..waiting }, Ok(Verdict::Admit)),
        ];
        for (claim, called, expected) in cases {
            assert_eq!(judge(&claim, &called), expected, "{claim:?} {called:?}");
        }
    }

    #[test]
    fn a_claim_survives_the_wire() {
        for way in [Way::Direct, Way::Over(MemberId(7)), Way::PassedOnBy(MemberId(8))] {
            let (from, to) = (MemberId(u64::MAX), MemberId(3));
            let claim = Claim { protocol: 1, cluster: OURS, from, to, way };
            let mut metadata = MetadataMap::new();
            claim.write(&mut metadata);
            assert_eq!(Claim::read(&metadata).unwrap(), claim);
        }
        assert!(Claim::read(&MetadataMap::new()).is_err());
    }

    #[test]
    fn a_member_of_before_is_told_what_it_means() {
        let generation = |theirs, ours| Stranger::OtherGeneration { theirs, ours }.status();
        assert_eq!(Refusal::of(&generation(1, 2)), Some(Refusal::Outlived));
        assert_eq!(Refusal::of(&generation(2, 1)), None);
        let removed = Stranger::Removed { member: MemberId(1) }.status();
        assert_eq!(Refusal::of(&removed), Some(Refusal::Removed));
    }
}
