/** The library: the verbs of the command line, typed. */

import { freezeGuest as freeze } from './consistency/freeze-guest.ts';
import { checking, checkingLater } from './engine/arguments.ts';
import { doctor as diagnose } from './engine/doctor/doctor.ts';
import { createPool as create } from './engine/pools/create.ts';
import { describeLoss as describe, destroyPool as destroy } from './engine/pools/destroy.ts';
import { growPool as grow } from './engine/pools/grow.ts';
import { persistPool as persist } from './engine/pools/persist.ts';
import { notifyHypervisor as notify } from './hypervisors/notify.ts';

export type { FreezeOptions, Frozen, FrozenWork } from './consistency/freeze-guest.ts';
export { checkFreezeTarget, type FreezeTarget, parseFreezeTarget } from './consistency/freeze-target.ts';
export type { AdoptOptions } from './engine/adoption/plan.ts';
export type { AdoptTreeOptions, TreeAdopted } from './engine/adoption/tree/request.ts';
export type { Attribution } from './engine/audit.ts';
export type { ManyCloned } from './engine/clone-many.ts';
export type { OperationProgress } from './engine/control.ts';
export type { Diagnosis } from './engine/doctor/doctor.ts';
export type { DoctorFinding, Severity } from './engine/doctor/finding.ts';
export type { DoctorOptions, PlaceKind } from './engine/doctor/situation.ts';
export { type OpenOptions, openPool } from './engine/open-pool.ts';
export type { Adopted, AdoptedDisk } from './engine/operations/adopt.ts';
export type { AdoptionUndone, OriginalRemoved, UndoOptions } from './engine/operations/adopt-undo.ts';
export type { Cloned, CloneOptions } from './engine/operations/clone.ts';
export type { Created, CreateOptions } from './engine/operations/create.ts';
export type { DiffOptions, TreeDiff } from './engine/operations/diff.ts';
export type { Exported, ExportOptions } from './engine/operations/export.ts';
export type { Grown } from './engine/operations/grow.ts';
export type { HeldSnapshot, HoldOptions } from './engine/operations/hold.ts';
export type { Imported, ImportOptions } from './engine/operations/import.ts';
export type { SnapshotSummary, VolumeDetails, VolumeSummary } from './engine/operations/list.ts';
export type {
  MountOptions,
  TreeMounted,
  TreeUnmounted,
  UnmountOptions,
} from './engine/operations/mount.ts';
export type { Removed, RemoveOptions } from './engine/operations/remove.ts';
export type { RollbackOptions, RolledBack } from './engine/operations/rollback.ts';
export type { SealOptions } from './engine/operations/seal.ts';
export type { SnapshotOptions } from './engine/operations/snapshot.ts';
export type { SnapshotGroup } from './engine/operations/snapshot-together.ts';
export type { BranchStarted, StartBranchOptions } from './engine/operations/start-branch.ts';
export type { Tombstone } from './engine/operations/tombstones.ts';
export type { TreeNode } from './engine/operations/tree.ts';
export type { Usage, UsageOptions, UsageReport } from './engine/operations/usage.ts';
export type { ApplyPoliciesOptions, PoliciesApplied, PolicyDecision } from './engine/policy/apply.ts';
export type { VolumePolicy } from './engine/policy/policies.ts';
export type { DueVerified, VerifyDueOptions } from './engine/policy/verify-due.ts';
export type { Pool } from './engine/pool.ts';
export type { Finding } from './engine/pools/check.ts';
export type { CreatePoolOptions } from './engine/pools/claim.ts';
export type { PoolCreated } from './engine/pools/create.ts';
export { defaultPoolPath } from './engine/pools/default-path.ts';
export type { PoolDescription, PoolVitals } from './engine/pools/describe.ts';
export type { PoolLoss } from './engine/pools/destroy.ts';
export type { PoolGrown } from './engine/pools/grow.ts';
export type { Persisted, PersistOptions } from './engine/pools/persist.ts';
export type { Durability, LongOptions } from './engine/runner.ts';
export type { Sealed } from './engine/seal-disk.ts';
export type { PoolSpace } from './engine/space.ts';
export type { Snapshotted, Stillness } from './engine/taking.ts';
export {
  type GrownDisk,
  type Notified,
  type NotifyOptions,
  requireSafeTarget,
} from './hypervisors/notify.ts';
export {
  checkHypervisorTarget,
  type HypervisorTarget,
  parseHypervisorTarget,
} from './hypervisors/target.ts';
export type { Aspect, Change, ChangeKind, ComparisonMethod, FileType } from './model/changes.ts';
export { type Blocker, CoppiceError, type ErrorCode, type ErrorData, errorCodes } from './model/errors.ts';
export type {
  Ancestor,
  Backing,
  Consistency,
  Hold,
  SnapshotReason,
  Verification,
  VerificationCheck,
} from './model/metadata.ts';
export { formatSize, parseSize } from './model/sizes.ts';
export type { ApplicationPart, Partner, Together } from './model/together.ts';
export { version } from './model/version.ts';

export const createPool: typeof create = checking('createPool', create);
export const describeLoss: typeof describe = checking('describeLoss', describe);
export const destroyPool: typeof destroy = checking('destroyPool', destroy);
export const doctor: typeof diagnose = checkingLater('doctor', diagnose);
export const growPool: typeof grow = checking('growPool', grow);
export const freezeGuest: typeof freeze = checkingLater('freezeGuest', freeze) as typeof freeze;
export const notifyHypervisor: typeof notify = checkingLater('notifyHypervisor', notify);
export const persistPool: typeof persist = checking('persistPool', persist);
export { NotStarted } from './engine/not-started.ts';
