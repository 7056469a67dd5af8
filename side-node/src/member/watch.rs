//! What becomes of the transactions that people had this node write.

use std::collections::BTreeMap;

use side_ledger::Position;
use side_ledger::block::BlockId;
use side_ledger::receipt::Status;

use super::{Member, News};

/// Most own transactions that are followed at once; of more the first ones in the one order are dropped. The history tells of all.
const MAX_WATCHED: usize = 4_096;

/// Own transactions that a block may still come to cover, or be taken back from.
#[derive(Debug, Default)]
pub(super) struct Watched {
    stands: BTreeMap<Position, Status>,
    /// Where the chain ended when they were last looked at.
    tip: Option<BlockId>,
}

impl Member {
    /// Follows an own transaction from now on.
    pub(super) fn watch(&mut self, position: Position) {
        self.watched.stands.insert(position, Status::Pending);
        if self.watched.stands.len() > MAX_WATCHED {
            self.watched.stands.pop_first();
        }
    }

    /// Tells what became of them since the chain has another end.
    pub(super) fn follow_own(&mut self) {
        let group = &self.core.group;
        let tip = Some(group.chain().tip_id());
        if self.watched.tip == tip {
            return;
        }
        self.watched.tip = tip;
        let mut unsealed = 0;
        let news = &mut self.news[0];
        self.watched.stands.retain(|position, stood| {
            let Some(stands) = group.status(position) else { return false };
            if stands != *stood {
                match stands {
                    Status::Pending => unsealed += 1,
                    Status::Sealed { .. } | Status::Rejected { .. } => news.push(News::Standing(*position)),
                }
                *stood = stands;
            }
            match stands {
                Status::Pending => true,
                Status::Sealed { height } | Status::Rejected { height, .. } => !self.engine.is_held(group, height),
            }
        });
        if unsealed > 0 {
            news.push(News::Unsealed(unsealed));
        }
    }
}
