import { errnoLeft } from './direct-calls.ts';
import { bindAll, NvList, type NvObject, takeNvList } from './nvlist.ts';
import { attemptForeign } from './system-calls.ts';
import { undisturbed } from './undisturbed.ts';
import { failed, nameOf, ZfsError } from './zfs-error.ts';

/**
 * What changes a ZFS pool, called directly: libzfs_core, whose interface is the same from OpenZFS 2.0 to 2.4. A call returns when
 * its change is on the disks. Failures are an errno and, where several things were asked for, one for each; no text is parsed.
 */
const prototypes = {
  init: 'int libzfs_core_init()',
  exists: 'bool lzc_exists(const char *)',
  create: 'int lzc_create(const char *, int, void *, void *, unsigned int)',
  clone: 'int lzc_clone(const char *, const char *, void *)',
  destroySnapshots: 'int lzc_destroy_snaps(void *, bool, void *)',
  destroy: 'int lzc_destroy(const char *)',
  rename: 'int lzc_rename(const char *, const char *)',
  promote: 'int lzc_promote(const char *, char *, int)',
  program: 'int lzc_channel_program(const char *, const char *, uint64_t, uint64_t, void *, void *)',
  sync: 'int lzc_sync(const char *, void *, void *)',
  wait: 'int lzc_wait(const char *, int, void *)',
} as const;

type CallName = Exclude<keyof typeof prototypes, 'init' | 'exists'>;

let library: ReturnType<typeof bindAll<keyof typeof prototypes>> | undefined;

/** @throws ZfsError ENOENT when the module is not loaded, EACCES; CoppiceError missing_tool when the library is not there */
function natives(): NonNullable<typeof library> {
  if (library) return library;
  const bound = bindAll(['libzfs_core.so.3'], prototypes);
  const errno = bound.init() as number;
  if (errno !== 0) throw new ZfsError(errno, 'open', '/dev/zfs');
  library = bound;
  return bound;
}

export function createZvol(name: string, bytes: number, properties: NvObject): void {
  using list = new NvList({ volsize: BigInt(bytes), ...properties });
  must('create', name, 'create', name, 3, list.pointer, null, 0);
}

/** A dataset with files. It is not mounted. */
export function createFileSystem(name: string, properties: NvObject): void {
  using list = new NvList(properties);
  must('create', name, 'create', name, 2, list.pointer, null, 0);
}

export function cloneDataset(snapshot: string, name: string, properties: NvObject): void {
  using list = new NvList(properties);
  must('clone', name, 'clone', name, snapshot, list.pointer);
}

const ENOENT = 2;
const ESRCH = 3;
const EAGAIN = 11;
const EBUSY = 16;
const EEXIST = 17;

/**
 * Whether a zvol or the device of a snapshot is open, also by a mapping that no process shows: then it could not be rolled back or,
 * where it has no snapshot, destroyed. The kernel looks only within a transaction group, and not in one in which a snapshot of the
 * zvol was taken: then only the next can tell. Where there is a bookmark that is newer than all snapshots, it does not look.
 */
const isOpen = `
local onlyNextTells, unknown = false, {}
local function isOpen(name)
  if string.find(name, "@", 1, true) then return zfs.check.destroy({ name, defer = true }) == ${EBUSY} end
  local failed = zfs.check.rollback(name)
  if failed == ${EAGAIN} then onlyNextTells = true end
  if failed == ${EEXIST} then unknown[name] = true end
  if failed == ${ESRCH} then failed = zfs.check.destroy(name) end
  return failed == ${EBUSY}
end
`;

/** Those of one pool that somebody has open, and those of which the kernel doesn't tell. Waits for a transaction group. */
export function openAmong(names: readonly string[]): {
  readonly open: readonly string[];
  readonly unknown: readonly string[];
} {
  if (names.length === 0) return { open: [], unknown: [] };
  const program = `${isOpen}
local open = {}
for name in pairs((...).names) do
  if isOpen(name) then open[name] = true end
end
return { open = open, unknown = unknown, again = onlyNextTells }`;
  for (;;) {
    const found = runZfsProgram(zpoolOf(names[0] ?? ''), program, { names }, names.join(', '));
    const { open, unknown, again } = found as Record<'open' | 'unknown', object | undefined> & {
      readonly again: boolean;
    };
    if (!again) return { open: Object.keys(open ?? {}), unknown: Object.keys(unknown ?? {}) };
  }
}

/**
 * Takes snapshots of one pool, each with its own properties, all in the same instant or none.
 * Two of the same zvol are refused by EAGAIN: there is one in each transaction group.
 * @param onlyClosed takes none when somebody has one of their zvols open, who may have written into the page cache
 * @returns the zvols that are open, where that was asked and nothing was taken
 * @throws ZfsError with the errno of each that can't be taken
 */
export function takeSnapshots(
  wanted: ReadonlyMap<string, Readonly<Record<string, string>>>,
  onlyClosed = false,
): readonly string[] {
  const names = [...wanted.keys()];
  const program = takingProgram(onlyClosed, names.length > 1);
  const args = { wanted: Object.fromEntries(wanted) };
  for (;;) {
    const result = runZfsProgram(zpoolOf(names[0] ?? ''), program, args, names.join(', '));
    const { failed = {}, open = {}, isUndone } = (result ?? {}) as SnapshotResult;
    const codes = Object.entries(failed);
    const [first] = codes;
    if (!first) return Object.keys(open);
    // Somebody else has taken one of the same volume in this transaction group, and there is only one in each; the next is another.
    if (!isUndone && codes.some(([, errno]) => errno === EAGAIN)) continue;
    const each = Object.fromEntries(codes.map(([name, errno]) => [name, nameOf(errno)]));
    throw new ZfsError(first[1], 'snapshot', names.join(', '), each);
  }
}

/** Only what is needed: the kernel compiles it each time, and writes it into the history of the pool. Returns nothing when all is well. */
function takingProgram(onlyClosed: boolean, several: boolean): string {
  const lookWhetherOpen = `${isOpen}
for name in pairs(wanted) do
  local dataset = string.match(name, "^[^@]*")
  if isOpen(dataset) or unknown[dataset] then open[dataset] = true end
end
if next(open) ~= nil then return { open = open } end`;
  // Of one alone, taking it says the same.
  const checkAll = `
for name in pairs(wanted) do
  local errno = zfs.check.snapshot(name)
  if errno ~= 0 then failed[name] = errno end
end
if next(failed) ~= nil then return { failed = failed } end`;
  return `local wanted, failed, open = (...).wanted, {}, {}
${onlyClosed ? lookWhetherOpen : ''}${several ? checkAll : ''}
local taken = {}
for name, values in pairs(wanted) do
  local errno = zfs.sync.snapshot(name)
  if errno == 0 then taken[name] = true end
  for key, value in pairs(values) do
    if errno == 0 then errno = zfs.sync.set_prop(name, key, value) end
  end
  if errno ~= 0 then
    local isUndone = next(taken) ~= nil and "yes" or nil
    for each in pairs(taken) do zfs.sync.destroy(each) end
    return { failed = { [name] = errno }, isUndone = isUndone }
  end
end`;
}

interface SnapshotResult {
  /** The errno of each that can't be taken. */
  readonly failed?: Readonly<Record<string, number>>;
  readonly open?: Readonly<Record<string, unknown>>;
  /** Some could be taken and then another not, so that they were taken away again before anybody could see them. */
  readonly isUndone?: string;
}

/** The pool, in the sense of zpool(8), that a dataset or snapshot is in. */
export function zpoolOf(name: string): string {
  return name.split(/[/@]/, 1)[0] ?? name;
}

/** Destroys snapshots of one pool; those that have clones or holds go with the last of them. Absent ones are fine. */
export function destroySnapshots(names: readonly string[]): void {
  if (names.length === 0) return;
  using list = new NvList(Object.fromEntries(names.map((name) => [name, true])));
  withEach('destroy', names.join(', '), 'destroySnapshots', list.pointer, true);
}

export function destroyDataset(name: string): void {
  must('destroy', name, 'destroy', name);
}

/** Of a dataset or, within one, of a snapshot. */
export function renameDataset(from: string, to: string): void {
  must('rename', from, 'rename', from, to);
}

/** Makes a clone the one that its origin depends on. @throws ZfsError EEXIST where names of snapshots clash */
export function promoteDataset(name: string): void {
  must('promote', name, 'promote', name, Buffer.alloc(256), 256);
}

/**
 * Of a dataset or snapshot. Changes nothing, so it is not counted.
 * @throws ZfsError where that can't be told: taken for an absence, it would have things destroyed that are there
 */
export function datasetExists(name: string): boolean {
  for (let attempt = 1; ; attempt++) {
    if (natives().exists(name) as boolean) return true;
    const errno = errnoLeft();
    if (errno === ENOENT) return false;
    // Of a pool that is suspended, or left by V8 in between; that does not happen each time.
    if (errno !== EAGAIN || attempt === 3) throw failed(errno, 'look at', name);
  }
}

/**
 * Throws away what was written to a dataset since its last snapshot, for good.
 * @throws ZfsError EBUSY when it is open or mounted, ESRCH when it has no snapshot
 */
export function forgetSinceSnapshot(dataset: string): void {
  // The call has a second result where it succeeds, and a program may have one.
  const program = 'local errno = zfs.sync.rollback((...).dataset) return errno';
  const failed = runZfsProgram(zpoolOf(dataset), program, { dataset }, dataset);
  if (failed !== 0) throw new ZfsError(Number(failed), 'roll back', dataset);
}

/** Waits until everything that was done in a pool is on the disks. */
export function syncPool(pool: string): void {
  using list = new NvList({ force: false });
  must('sync', pool, 'sync', pool, list.pointer, Buffer.alloc(8));
}

/** Waits until what was destroyed in a pool is free. */
export function waitForFrees(pool: string): void {
  const free = 1;
  must('wait for', pool, 'wait', pool, free, Buffer.alloc(4));
}

/** Sets user properties of one dataset or snapshot, all in one step. */
export function setProperties(dataset: string, values: Readonly<Record<string, string>>): void {
  const program = `
local arguments = ...
for name, value in pairs(arguments.values) do
  local failed = zfs.sync.set_prop(arguments.dataset, name, value)
  if failed ~= 0 then return failed end
end
return 0`;
  const failed = runZfsProgram(zpoolOf(dataset), program, { dataset, values }, dataset);
  if (failed !== 0) throw new ZfsError(Number(failed), 'set properties of', dataset);
}

/** A million is what the kernel lets a program have by default at most a hundred of. */
const instructions = 100_000_000n;
const memory = 100n * 2n ** 20n;

/**
 * Runs a program in the kernel which changes several things, all in one transaction group or, if it fails at the start, none. The
 * kernel writes it and its answer into the history of the pool.
 */
export function runZfsProgram(pool: string, program: string, args: NvObject, subject: string): unknown {
  using list = new NvList(args);
  const cell = Buffer.alloc(8);
  const step = 'change';
  const values = [pool, program, instructions, memory, list.pointer, cell];
  // Else a signal ends it after any of its steps.
  const errno = undisturbed(() => attemptZfs(step, subject, 'program', ...values));
  const result = takeNvList(cell.readBigUInt64LE());
  if (errno === 0) return result?.['return'];
  const why = result?.['error'];
  throw failed(errno, step, subject, {}, typeof why === 'string' ? why.split('\n', 1)[0] : '');
}

function must(step: string, subject: string, call: CallName, ...values: unknown[]): void {
  const errno = attemptZfs(step, subject, call, ...values);
  if (errno !== 0) throw failed(errno, step, subject);
}

function withEach(step: string, subject: string, call: CallName, ...values: unknown[]): void {
  const cell = Buffer.alloc(8);
  const errno = attemptZfs(step, subject, call, ...values, cell);
  const each = takeNvList(cell.readBigUInt64LE()) ?? {};
  if (errno === 0) return;
  const codes = Object.entries(each).flatMap(([name, code]) =>
    typeof code === 'number' ? [[name, nameOf(code)] as const] : [],
  );
  throw failed(errno, step, subject, Object.fromEntries(codes));
}

function attemptZfs(step: string, subject: string, name: CallName, ...values: unknown[]): number {
  const native = natives()[name];
  return attemptForeign(`zfs ${step}`, subject, () => native(...values) as number);
}
