import { createRequire } from 'node:module';
import { CoppiceError } from '../model/errors.ts';
import { bindAll } from './nvlist.ts';
import { undisturbed } from './undisturbed.ts';
import { datasetExists } from './zfs-core.ts';

/**
 * What ZFS says of its datasets, by the library that its own commands use. libzfs_core can look only by channel programs, and the
 * kernel writes each of them into the history of the pool, with its answer: whoever only looked would write, drive out what an
 * administrator looks for there, and could not look at a pool that is imported to be read.
 */
const prototypes = {
  init: 'void *libzfs_init()',
  end: 'void libzfs_fini(void *)',
  open: 'void *zfs_open(void *, const char *, int)',
  close: 'void zfs_close(void *)',
  nameOf: 'const char *zfs_get_name(const void *)',
  propertyNamed: 'int zfs_name_to_prop(const char *)',
  property: 'int zfs_prop_get(void *, int, void *, size_t, void *, void *, size_t, int)',
  properties: 'void *zfs_get_all_props(void *)',
  clones: 'void *zfs_get_clones_nvl(void *)',
  why: 'const char *libzfs_error_description(void *)',
} as const;

const lists = {
  next: 'void *nvlist_next_nvpair(void *, void *)',
  nameOf: 'const char *nvpair_name(void *)',
  listIn: 'int nvpair_value_nvlist(void *, _Out_ void **)',
  list: 'int nvlist_lookup_nvlist(void *, const char *, _Out_ void **)',
  text: 'int nvlist_lookup_string(void *, const char *, _Out_ const char **)',
  number: 'int nvlist_lookup_uint64(void *, const char *, _Out_ uint64_t *)',
} as const;

type Native = (...values: unknown[]) => unknown;
/** 0 or null for none. */
type Pointer = bigint | null;

interface Library {
  readonly zfs: Readonly<Record<keyof typeof prototypes | 'children' | 'snapshots', Native>>;
  readonly nv: Readonly<Record<keyof typeof lists, Native>>;
  readonly session: Pointer;
}

/** Of OpenZFS 2.0 to 2.2, 2.3, and 2.4. What is used here is the same in all. */
const files = ['libzfs.so.4', 'libzfs.so.6', 'libzfs.so.7'];

let loaded: Library | undefined;

/** @throws CoppiceError missing_tool when the library is not there; ZfsError when the module is not loaded */
function library(): Library {
  loaded ??= load();
  return loaded;
}

/** Gives back what the library has open for this thread. What looks next opens it again. */
export function closeLibrary(): void {
  if (loaded) loaded.zfs.end(loaded.session);
  loaded = undefined;
}

function load(): Library {
  // Fails with what is wrong where there is no ZFS.
  datasetExists('coppice');
  const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
  const visit = koffi.pointer(koffi.proto(null, 'int', ['void *', 'void *']));
  const zfs = bindAll(files, {
    ...prototypes,
    children: ['zfs_iter_filesystems', 'int', ['void *', visit, 'void *']],
    // The last two bound the transaction groups.
    snapshots: ['zfs_iter_snapshots', 'int', ['void *', 'int', visit, 'void *', 'uint64_t', 'uint64_t']],
  });
  const session = zfs.init() as Pointer;
  if (!session) throw new CoppiceError('io_error', 'libzfs could not be used: /dev/zfs can not be opened.');
  return { zfs, nv: bindAll(['libnvpair.so.3'], lists), session };
}

/** Properties by their names, as text. */
export type Properties = Readonly<Record<string, string>>;

/** A property as the kernel keeps it: what is chosen from a list is a number. */
export type RawValue = string | bigint;

const filesystem = 1;
const snapshot = 2;
const volume = 4;

/** A dataset or snapshot as it was when it was opened. */
export class Dataset implements Disposable {
  readonly name: string;
  readonly #handle: Pointer;

  private constructor(handle: Pointer) {
    this.#handle = handle;
    this.name = library().zfs.nameOf(handle) as string;
  }

  /** @returns undefined where there is none of that name */
  static open(name: string): Dataset | undefined {
    const { zfs, session } = library();
    for (let attempt = 1; ; attempt++) {
      const handle = zfs.open(session, name, filesystem | snapshot | volume) as Pointer;
      if (handle) return new Dataset(handle);
      const reason = why();
      // Fails by itself where the whole pool can't be looked at.
      if (!datasetExists(name)) return undefined;
      // It may have come only now.
      if (attempt === 3) throw new CoppiceError('io_error', `ZFS could not open ${name}: ${reason}.`);
    }
  }

  /** The value of a property as `zfs get -p` prints it, the default where it is not set; undefined where it has none. */
  property(name: string): string | undefined {
    const { zfs } = library();
    const buffer = Buffer.alloc(8192);
    const property = zfs.propertyNamed(name) as number;
    if (property < 0) throw new Error(`ZFS knows no property ${name}`);
    const failed = zfs.property(this.#handle, property, buffer, buffer.length, null, null, 0, 1) as number;
    const value = failed ? '-' : buffer.toString('latin1', 0, buffer.indexOf(0));
    return value === '-' ? undefined : value;
  }

  /** What is set on it itself, and neither inherited nor a default. */
  own(): ReadonlyMap<string, RawValue> {
    const found = new Map<string, RawValue>();
    const { zfs, nv } = library();
    const all = zfs.properties(this.#handle) as Pointer;
    for (let pair = nv.next(all, null) as Pointer; pair; pair = nv.next(all, pair) as Pointer) {
      const value = this.#ownValue(read(nv.listIn, pair) as Pointer);
      if (value !== undefined) found.set(nv.nameOf(pair) as string, value);
    }
    return found;
  }

  /** A user property that is set on it itself. */
  ownText(name: string): string | undefined {
    const { zfs, nv } = library();
    const value = this.#ownValue(read(nv.list, zfs.properties(this.#handle), name) as Pointer);
    return typeof value === 'string' ? value : undefined;
  }

  #ownValue(list: Pointer | undefined): RawValue | undefined {
    const { nv } = library();
    if (!list || read(nv.text, list, 'source') !== this.name) return undefined;
    const number = read(nv.number, list, 'value');
    return number === undefined
      ? (read(nv.text, list, 'value') as string | undefined)
      : BigInt(number as number);
  }

  /** Of a snapshot, what was cloned from it. */
  clones(): readonly string[] {
    const { zfs, nv } = library();
    const list = zfs.clones(this.#handle) as Pointer;
    if (!list) throw new CoppiceError('io_error', `ZFS could not tell the clones of ${this.name}: ${why()}.`);
    const names: string[] = [];
    for (let pair = nv.next(list, null) as Pointer; pair; pair = nv.next(list, pair) as Pointer)
      names.push(nv.nameOf(pair) as string);
    return names;
  }

  /**
   * Looks at each dataset below it, without their own children. What goes meanwhile is left out.
   * @param most looks at no more than so many
   */
  eachChild<T>(look: (child: Dataset) => T, most?: number): T[] {
    return this.#visited((visit) => library().zfs.children(this.#handle, visit, null), look, most);
  }

  eachSnapshot<T>(look: (snapshot: Dataset) => T): T[] {
    return this.#visited((visit) => library().zfs.snapshots(this.#handle, 0, visit, null, 0, 0), look);
  }

  #visited<T>(
    visitAll: (visit: (handle: Pointer) => number) => unknown,
    look: (each: Dataset) => T,
    most = Number.POSITIVE_INFINITY,
  ): T[] {
    const found: T[] = [];
    // An error can't pass through the library.
    const errors: unknown[] = [];
    const visit = (handle: Pointer): number => {
      using each = new Dataset(handle);
      try {
        found.push(look(each));
        return found.length < most ? 0 : 1;
      } catch (error) {
        errors.push(error);
        return 1;
      }
    };
    const failed = undisturbed(() => visitAll(visit));
    if (errors.length > 0) throw errors[0];
    if (failed && found.length < most)
      throw new CoppiceError('io_error', `ZFS could not list ${this.name}: ${why()}.`);
    return found;
  }

  [Symbol.dispose](): void {
    library().zfs.close(this.#handle);
  }
}

function why(): string {
  const { zfs, session } = library();
  return zfs.why(session) as string;
}

/** What a call gives by its last argument; undefined where it fails, because there is nothing of that name or kind. */
function read(call: Native, ...values: unknown[]): unknown {
  const out: unknown[] = [null];
  return (call(...values, out) as number) === 0 ? out[0] : undefined;
}
