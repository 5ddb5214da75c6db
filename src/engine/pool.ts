import { CoppiceError } from '../model/errors.ts';
import type { Settings } from '../model/settings.ts';
import type { AdoptOptions } from './adoption/plan.ts';
import type { AdoptTreeOptions, TreeAdopted } from './adoption/tree/request.ts';
import { checkMethods } from './arguments.ts';
import type { Attribution } from './audit.ts';
import { cloneMany, type ManyCloned } from './clone-many.ts';
import type { Guarded, GuardOptions, GuardRecords, Kept } from './guards/guard.ts';
import type { Recovered } from './guards/recover.ts';
import { NotStarted } from './not-started.ts';
import type { Adopted } from './operations/adopt.ts';
import type { AdoptionUndone, OriginalRemoved, UndoOptions } from './operations/adopt-undo.ts';
import type { TakenAtRest } from './operations/at-rest.ts';
import type { Branched, BranchOptions } from './operations/branch.ts';
import type { Cloned, CloneOptions } from './operations/clone.ts';
import type { Created, CreateOptions } from './operations/create.ts';
import type { DiffOptions, TreeDiff } from './operations/diff.ts';
import type { Exported, ExportOptions } from './operations/export.ts';
import type { Grown } from './operations/grow.ts';
import type { GuardState } from './operations/guard-records.ts';
import type { HeldSnapshot, HoldOptions } from './operations/hold.ts';
import type { Imported, ImportOptions } from './operations/import.ts';
import type { SnapshotSummary, VolumeDetails, VolumeSummary } from './operations/list.ts';
import type { MountOptions, TreeMounted, TreeUnmounted, UnmountOptions } from './operations/mount.ts';
import type { Removed, RemoveOptions } from './operations/remove.ts';
import type { Renamed } from './operations/rename.ts';
import type { RollbackOptions, RolledBack } from './operations/rollback.ts';
import type { SealOptions } from './operations/seal.ts';
import type { SettingChanges } from './operations/settings.ts';
import type { SnapshotOptions } from './operations/snapshot.ts';
import type { SnapshotGroup } from './operations/snapshot-together.ts';
import type { BranchStarted, StartBranchOptions } from './operations/start-branch.ts';
import type { Tombstone } from './operations/tombstones.ts';
import type { TreeNode } from './operations/tree.ts';
import type { UsageOptions, UsageReport } from './operations/usage.ts';
import type { Verified, VerifyOptions } from './operations/verify.ts';
import type { ApplyPoliciesOptions, PoliciesApplied } from './policy/apply.ts';
import type { VolumePolicy } from './policy/policies.ts';
import type { DueVerified, VerifyDueOptions } from './policy/verify-due.ts';
import type { BootFiles } from './pools/boot-entry.ts';
import type { Finding } from './pools/check.ts';
import type { PoolDescription, PoolVitals } from './pools/describe.ts';
import type { Durability, LongOptions, Runner } from './runner.ts';
import type { Sealed } from './seal-disk.ts';
import type { Snapshotted } from './taking.ts';

/**
 * An open pool. Every method throws a CoppiceError with a stable code when it can't do what it says. Sizes are bytes. A method
 * that changes something returns when the change survives a power cut, unless asked for less; changes that arrive together
 * share one commit.
 */
export class Pool implements AsyncDisposable {
  static {
    checkMethods(Pool.prototype);
  }

  /** The real path of the pool's directory. */
  readonly path: string;
  /** A UUID that it keeps, wherever it is mounted. */
  readonly id: string;
  /** By which the audit log tells what was done through this from what others do. */
  readonly session: string;
  readonly #runner: Runner;
  readonly #root: Disposable;
  readonly #by: Attribution | undefined;

  /** Use `openPool`. */
  constructor(
    { path, id, session }: Pick<Pool, 'path' | 'id' | 'session'>,
    runner: Runner,
    root: Disposable,
    by?: Attribution,
  ) {
    this.path = path;
    this.id = id;
    this.session = session;
    this.#by = by;
    this.#runner = runner;
    this.#root = root;
  }

  /** Makes a template from a raw or qcow2 image. The name appears when it is complete, or never. */
  import(name: string, source: string, options: ImportOptions & LongOptions = {}): Promise<Imported> {
    const { signal, onProgress, ...rest } = options;
    return this.#runner.run('import', [name, source, rest], { signal, onProgress, by: this.#by });
  }

  /**
   * Makes volumes and templates from disks that lie in directories, by sharing their blocks. If one can't be adopted, none is; what
   * fails later is listed beside what was made. The files stay, unless `removeOriginals` is given.
   */
  adopt(sources: string | readonly string[], options: AdoptOptions & LongOptions = {}): Promise<Adopted> {
    const { signal, onProgress, ...rest } = options;
    const all = typeof sources === 'string' ? [sources] : sources;
    return this.#runner.run('adopt', [all, rest], { signal, onProgress, by: this.#by });
  }

  /**
   * Makes a volume of a directory with all that is in it, and puts a link to it in its place; the directory is kept beside it. Shares
   * the blocks of its files, or takes a snapshot where it is a subvolume of the pool's file system.
   */
  adoptTree(directory: string, options: AdoptTreeOptions & LongOptions = {}): Promise<TreeAdopted> {
    const { signal, onProgress, ...rest } = options;
    return this.#runner.run('adoptTree', [directory, rest], { signal, onProgress, by: this.#by });
  }

  /** Puts back the directory that was adopted. The volume stays, with what was written to it since. */
  undoAdoption(directory: string, options: UndoOptions = {}): Promise<AdoptionUndone> {
    return this.#runner.run('undoAdoption', [directory, options], { by: this.#by });
  }

  /** Removes for good the directory that an adoption has put aside. */
  removeOriginal(directory: string, options: { readonly dryRun?: boolean } = {}): Promise<OriginalRemoved> {
    return this.#runner.run('removeOriginal', [directory, options], { by: this.#by });
  }

  /** Writes a volume, a template or `VOLUME@SNAPSHOT` to a file outside the pool. */
  export(source: string, file: string, options: ExportOptions & LongOptions = {}): Promise<Exported> {
    const { signal, onProgress, ...rest } = options;
    return this.#runner.run('export', [source, file, rest], { signal, onProgress, by: this.#by });
  }

  /** Makes an empty volume. */
  async create(name: string, options: CreateOptions & Durability): Promise<Created> {
    const { durability, ...rest } = options;
    const created = await this.#runner.run('create', [name, rest], { durability, by: this.#by });
    if (!rest.at) return created;
    const { directory, ...mounting } = rest.at;
    try {
      return { ...created, mounted: await this.mount(name, directory, mounting) };
    } catch (error) {
      if (!(error instanceof CoppiceError)) throw error;
      const { code, message, blockers } = error;
      throw new CoppiceError(code, `${name} was created, but is not at ${directory}: ${message}`, {
        blockers,
        cause: error,
      });
    }
  }

  /** Makes a writable copy of a template, a volume or `VOLUME@SNAPSHOT`, which shares all blocks with it. */
  clone(source: string, name: string, options: CloneOptions & Durability = {}): Promise<Cloned> {
    const { durability, ...rest } = options;
    return this.#runner.run('clone', [source, name, rest], { durability, by: this.#by });
  }

  /**
   * Makes NAME-1 to NAME-COUNT. Each is whole or not there; what failed is listed beside what was made. When the signal fires no
   * more are begun, and those that were made stay.
   */
  async cloneMany(
    source: string,
    name: string,
    count: number,
    options: CloneOptions & Durability & LongOptions = {},
  ): Promise<ManyCloned> {
    const { signal, onProgress, durability, ...rest } = options;
    const run = { durability: 'deferred', signal, by: this.#by } as const;
    const cloneOne = (each: string): Promise<Cloned> => this.#runner.run('clone', [source, each, rest], run);
    const result = await cloneMany(cloneOne, name, count, { signal, onProgress });
    if (durability !== 'deferred') await this.sync();
    return result;
  }

  /**
   * Takes an immutable snapshot: `VOLUME@NAME`, or `VOLUME` for the given name or one made from the time. The volume may be in
   * use. Of a list, all snapshots are taken or none, and they appear in one step.
   */
  snapshot(reference: string, options?: SnapshotOptions & Durability & LongOptions): Promise<Snapshotted>;
  snapshot(
    references: readonly string[],
    options?: SnapshotOptions & Durability & LongOptions,
  ): Promise<SnapshotGroup>;
  async snapshot(
    references: string | readonly string[],
    options: SnapshotOptions & Durability & LongOptions = {},
  ): Promise<Snapshotted | SnapshotGroup> {
    const { durability, signal, onProgress, ...rest } = options;
    const run = { durability, by: this.#by };
    const atRest = (all: readonly string[]): Promise<TakenAtRest> =>
      this.#runner.run('snapshotAtRest', [all, rest], { ...run, signal, onProgress });
    // Most need nobody to be brought to rest; who does says so by returning nothing, and takes time of its own.
    if (typeof references === 'string') {
      const taken = await this.#runner.run('snapshot', [references, rest], run);
      if (taken) return taken;
      const { snapshots, heldMilliseconds } = await atRest([references]);
      const [first, ...others] = snapshots;
      const along = others.length > 0 && { with: others.map(({ reference }) => reference) };
      return { ...(first as Snapshotted), heldMilliseconds, ...along };
    }
    const taken = await this.#runner.run('snapshotTogether', [references, rest], run);
    return taken ?? { group: '', ...(await atRest(references)) };
  }

  /**
   * Proves a snapshot: starts the database that is declared for its volume on a throw-away clone, and checks it. The result is
   * recorded on the snapshot.
   */
  verify(reference: string, options: VerifyOptions & LongOptions = {}): Promise<Verified> {
    const { signal, onProgress, ...rest } = options;
    return this.#runner.run('verify', [reference, rest], { signal, onProgress, by: this.#by });
  }

  /** Makes a writable clone with a server of its own, which reaches nothing outside of it. Removing the clone ends it. */
  branch(source: string, name: string, options: BranchOptions & LongOptions = {}): Promise<Branched> {
    const { signal, onProgress, ...rest } = options;
    return this.#runner.run('branch', [source, name, rest], { signal, onProgress, by: this.#by });
  }

  /** Starts the servers of a branch again, as after a reboot. One that runs already is left as it is. */
  startBranch(name: string, options: StartBranchOptions & LongOptions = {}): Promise<BranchStarted> {
    const { signal, onProgress, ...rest } = options;
    return this.#runner.run('startBranch', [name, rest], { signal, onProgress, by: this.#by });
  }

  /** Changes what is set for a volume; null takes a setting away. Returns what is set then. */
  set(volume: string, changes: SettingChanges, options: Durability = {}): Promise<Settings> {
    return this.#runner.exclusive([volume], () =>
      this.#runner.run('set', [volume, changes], { ...options, by: this.#by }),
    );
  }

  /**
   * Tries a change to a volume: takes a snapshot, runs the change, and rolls the volume back if that fails, is given up or takes too
   * long, also when this process is killed meanwhile.
   */
  async guard<T>(
    volume: string,
    change: (guarded: Guarded) => Promise<T>,
    options: GuardOptions = {},
  ): Promise<Kept<T>> {
    const { guard } = await import('./guards/guard.ts');
    return await guard({ pool: this, records: this.#guardRecords(volume), volume }, change, options);
  }

  /**
   * Ends a change that was being tried when whoever tried it died.
   * @param id of the one that is meant, whoever tries it; the outermost when absent
   */
  async recoverGuard(volume: string, what: 'undo' | 'accept', id?: string): Promise<Recovered> {
    const { recoverGuard } = await import('./guards/recover.ts');
    return await recoverGuard({ pool: this, records: this.#guardRecords(volume), volume }, what, id);
  }

  /** What writes down which changes are being tried: no method of its own, because each has its place in the order of a guard. */
  #guardRecords(volume: string): GuardRecords {
    const run = { by: this.#by };
    return {
      begin: (guard, within) => this.#runner.run('beginGuard', [volume, guard, within], run),
      end: async (id) => void (await this.#runner.run('endGuard', [volume, id], run)),
      fail: async (id) => (await this.#runner.run('failGuard', [volume, id], run)).isThere,
    };
  }

  /** The changes to a volume that are being tried, or were when whoever tried them died; the outermost first. */
  guards(volume: string): Promise<GuardState[]> {
    return this.#runner.run('guards', [volume]);
  }

  /**
   * Has a directory tree be where an application wants it: mounted on a directory that is empty or not there yet, or behind a link.
   * Without a directory, makes true again what is recorded of it.
   */
  mount(volume: string, directory?: string, options: MountOptions = {}): Promise<TreeMounted> {
    return this.#runner.exclusive([volume], () =>
      this.#runner.run('mount', [volume, directory ?? null, options], { by: this.#by }),
    );
  }

  /** Takes a directory tree from where it was mounted or linked. */
  unmount(volume: string, directory?: string, options: UnmountOptions = {}): Promise<TreeUnmounted> {
    return this.#runner.exclusive([volume], () =>
      this.#runner.run('unmount', [volume, directory ?? null, options], { by: this.#by }),
    );
  }

  /** What is set for a volume. */
  settings(volume: string): Promise<Settings> {
    return this.#runner.run('settings', [volume]);
  }

  /** Has snapshots stay, whatever policies say, and for everybody, until they are released. */
  hold(
    references: string | readonly string[],
    options: HoldOptions & Durability = {},
  ): Promise<HeldSnapshot[]> {
    const { durability, ...rest } = options;
    return this.#runner.run('hold', [[references].flat(), rest], { durability, by: this.#by });
  }

  /** Lets snapshots go again that were held. */
  release(references: string | readonly string[], options: Durability = {}): Promise<HeldSnapshot[]> {
    return this.#runner.run('release', [[references].flat()], { ...options, by: this.#by });
  }

  /** The policies that are declared for volumes, by their settings. */
  policies(): Promise<VolumePolicy[]> {
    return this.#runner.run('policies', []);
  }

  /**
   * Takes the snapshots that policies want now, and removes those that they do not want any more. One process of a pool at a time does
   * this; whoever comes meanwhile does nothing.
   */
  applyPolicies(options: ApplyPoliciesOptions & LongOptions = {}): Promise<PoliciesApplied> {
    const { signal, onProgress, ...rest } = options;
    return this.#runner.run('applyPolicies', [rest], { signal, onProgress, by: this.#by });
  }

  /**
   * Proves of each volume whose setting `policy.verify` wants it now the newest snapshot that was taken for its database. One process of
   * a pool at a time does this; whoever comes meanwhile does nothing.
   */
  verifyDue(options: VerifyDueOptions & LongOptions = {}): Promise<DueVerified> {
    const { signal, onProgress, ...rest } = options;
    return this.#runner.run('verifyDue', [rest], { signal, onProgress, by: this.#by });
  }

  /**
   * Puts a volume back to `VOLUME@SNAPSHOT`. The replaced state is kept as a snapshot, which `undo` in the result names.
   * @throws NotStarted when that is done, and what was stopped for it could not be started
   */
  rollback(reference: string, options: RollbackOptions & Durability = {}): Promise<RolledBack> {
    const { durability, ...rest } = options;
    const run = { durability, by: this.#by };
    return this.#runner.exclusive([reference], async () => {
      if (rest.stop) {
        const stopped = await this.#runner.run('rollbackStopped', [reference, rest], run);
        if (stopped.notStarted !== undefined) throw new NotStarted(stopped, stopped.notStarted);
        return stopped;
      }
      // Most are of one volume; one that is not says so by returning nothing.
      const done = await this.#runner.run('rollback', [reference, rest], run);
      return done ?? (await this.#runner.run('rollbackTogether', [reference, rest], run));
    });
  }

  rename(from: string, to: string, options: BootFiles & Durability = {}): Promise<Renamed> {
    const { durability, ...files } = options;
    return this.#runner.exclusive([from], () =>
      this.#runner.run('rename', [from, to, files], { durability, by: this.#by }),
    );
  }

  /** Makes a volume larger, also while it is in use. */
  grow(name: string, options: { readonly bytes: number } & Durability): Promise<Grown> {
    return this.#runner.exclusive([name], () =>
      this.#runner.run('grow', [name, { bytes: options.bytes }], { ...options, by: this.#by }),
    );
  }

  /** Makes a template from the present state of a volume, or from a snapshot. */
  seal(source: string, template: string, options: SealOptions & Durability = {}): Promise<Sealed> {
    const { durability, ...rest } = options;
    return this.#runner.run('seal', [source, template, rest], { durability, by: this.#by });
  }

  /** Removes volumes, templates and snapshots: all of them, in one step, or none. */
  remove(
    references: string | readonly string[],
    options: RemoveOptions & Durability & Pick<LongOptions, 'onProgress'> = {},
  ): Promise<Removed> {
    const { durability, onProgress, ...rest } = options;
    const all = typeof references === 'string' ? [references] : references;
    return this.#runner.exclusive(all, () =>
      this.#runner.run('remove', [all, rest], { durability, onProgress, by: this.#by }),
    );
  }

  list(): Promise<VolumeSummary[]> {
    return this.#runner.run('list', []);
  }

  /** The snapshots of one volume, or of all, the oldest first. */
  listSnapshots(volume?: string): Promise<SnapshotSummary[]> {
    return this.#runner.run('listSnapshots', volume === undefined ? [] : [volume]);
  }

  show(name: string): Promise<VolumeDetails> {
    return this.#runner.run('show', [name]);
  }

  /** The path that a virtual machine monitor opens. */
  diskPath(reference: string): Promise<string> {
    return this.#runner.run('path', [reference]);
  }

  /** The lineage of everything, or of one volume and all that descends from it. */
  tree(name?: string): Promise<TreeNode[]> {
    return this.#runner.run('tree', name === undefined ? [] : [name]);
  }

  /**
   * Which files of a directory tree are different in `to`, looked at from `from`: both `VOLUME@SNAPSHOT`, or a volume for its present
   * state, which `to` is when it is left out.
   */
  diff(from: string, to?: string, options: DiffOptions = {}): Promise<TreeDiff> {
    return this.#runner.run('diff', [from, to ?? null, options]);
  }

  /** What volumes and snapshots take; of everything when none is named. */
  usage(
    references: readonly string[] = [],
    options: UsageOptions & Pick<LongOptions, 'onProgress'> = {},
  ): Promise<UsageReport> {
    const { onProgress, ...rest } = options;
    return this.#runner.run('usage', [references, rest], { onProgress });
  }

  /** What is deleted and not gone yet. */
  tombstones(): Promise<Tombstone[]> {
    return this.#runner.run('tombstones', []);
  }

  /** The space, without a look at any volume. */
  vitals(): Promise<PoolVitals> {
    return this.#runner.run('vitals', []);
  }

  describe(): Promise<PoolDescription> {
    return this.#runner.run('describe', []);
  }

  /** What a person should know. @param files where to look for what mounts trees at boot */
  check(files: BootFiles = {}): Promise<Finding[]> {
    return this.#runner.run('check', [files]);
  }

  /** The same pool, used on behalf of somebody whom the audit log is to name. To close either closes both. */
  onBehalfOf(by: Attribution): Pool {
    return new Pool(this, this.#runner, this.#root, by);
  }

  /** Makes every change that has returned durable. */
  sync(): Promise<void> {
    return this.#runner.commit();
  }

  /** Waits for what is under way, ends the threads and lets go of the pool. */
  async close(): Promise<void> {
    await this.#runner.close();
    this.#root[Symbol.dispose]();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
