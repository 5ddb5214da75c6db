import { createRequire } from 'node:module';
import { CoppiceError } from '../model/errors.ts';

/**
 * Name-value lists, in which OpenZFS takes arguments and gives results. What goes in is built with libnvpair; what comes out is
 * printed by it as JSON, so that nothing here depends on how a list lies in memory.
 */
/** Numbers are unsigned and have 64 bits; `true` is a name without a value, and `false` a value of its own. Of names in an array each is its own value, because programs are not given names without one. */
export type NvValue = string | number | bigint | boolean | readonly string[] | NvObject;
export interface NvObject {
  readonly [name: string]: NvValue;
}

/** The address of a list; 0 for none. */
export type NvPointer = bigint;

type Native = (...values: unknown[]) => unknown;

const prototypes = {
  alloc: 'int nvlist_alloc(void *, unsigned int, int)',
  free: 'void nvlist_free(void *)',
  isEmpty: 'int nvlist_empty(void *)',
  addString: 'int nvlist_add_string(void *, const char *, const char *)',
  addNumber: 'int nvlist_add_uint64(void *, const char *, uint64_t)',
  addName: 'int nvlist_add_boolean(void *, const char *)',
  addBoolean: 'int nvlist_add_boolean_value(void *, const char *, int)',
  addList: 'int nvlist_add_nvlist(void *, const char *, void *)',
  printJson: 'int nvlist_print_json(void *, void *)',
} as const;

const streams = {
  open: 'void *open_memstream(void *, void *)',
  close: 'int fclose(void *)',
  release: 'void free(void *)',
} as const;

interface Libraries {
  readonly nv: Readonly<Record<keyof typeof prototypes, Native>>;
  readonly stream: Readonly<Record<keyof typeof streams, Native>>;
  readonly textAt: (address: bigint, bytes: number) => string;
}

let loaded: Libraries | undefined;

/** Loaded when it is first needed: most hosts have no ZFS. */
function libraries(): Libraries {
  loaded ??= load();
  return loaded;
}

function load(): Libraries {
  const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
  return {
    nv: bindAll(['libnvpair.so.3'], prototypes),
    stream: bindAll(['libc.so.6'], streams),
    textAt: (address, bytes) => koffi.decode(address, 'char', bytes) as string,
  };
}

/**
 * Binds functions of a library by their prototypes, or by name, result and arguments.
 * @param files the names that the library may have, of which the first that is there is taken
 * @throws CoppiceError missing_tool when it is not installed
 */
export function bindAll<K extends string>(
  files: readonly string[],
  wanted: Readonly<Record<K, string | readonly unknown[]>>,
): Readonly<Record<K, Native>> {
  const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
  const causes: unknown[] = [];
  for (const file of files) {
    try {
      const library = koffi.load(file);
      const bound = Object.entries<string | readonly unknown[]>(wanted).map(([name, prototype]) => [
        name,
        Reflect.apply(library.func, library, [prototype].flat()) as unknown as Native,
      ]);
      return Object.fromEntries(bound) as Record<K, Native>;
    } catch (cause) {
      causes.push(cause);
    }
  }
  throw new CoppiceError(
    'missing_tool',
    `The library ${files.join(' or ')} of ZFS could not be loaded: install it with "apt-get install zfsutils-linux".`,
    { cause: new AggregateError(causes) },
  );
}

const NV_UNIQUE_NAME = 1;

/** A list for as long as it is in scope. */
export class NvList implements Disposable {
  readonly pointer: NvPointer;

  constructor(values: NvObject) {
    const cell = Buffer.alloc(8);
    must('nvlist_alloc', libraries().nv.alloc(cell, NV_UNIQUE_NAME, 0) as number);
    this.pointer = cell.readBigUInt64LE();
    try {
      for (const [name, value] of Object.entries(values)) this.#add(name, value);
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  #add(name: string, value: NvValue): void {
    if (value === true) must(name, libraries().nv.addName(this.pointer, name) as number);
    else if (value === false) must(name, libraries().nv.addBoolean(this.pointer, name, 0) as number);
    else if (typeof value === 'string')
      must(name, libraries().nv.addString(this.pointer, name, value) as number);
    else if (typeof value === 'object') {
      const nested = Array.isArray(value) ? namesOf(value) : (value as NvObject);
      using list = new NvList(nested);
      must(name, libraries().nv.addList(this.pointer, name, list.pointer) as number);
    } else must(name, libraries().nv.addNumber(this.pointer, name, value) as number);
  }

  [Symbol.dispose](): void {
    libraries().nv.free(this.pointer);
  }
}

function namesOf(names: readonly string[]): NvObject {
  return Object.fromEntries(names.map((name) => [name, name]));
}

/** Parses a list that the library has made, and frees it. Undefined for none. */
export function takeNvList(pointer: NvPointer): Record<string, unknown> | undefined {
  if (pointer === 0n) return undefined;
  try {
    // Most are: what has worked says nothing.
    if (libraries().nv.isEmpty(pointer)) return {};
    return JSON.parse(printed(pointer)) as Record<string, unknown>;
  } finally {
    libraries().nv.free(pointer);
  }
}

function printed(list: NvPointer): string {
  // The address of the text and its length, which are filled in when the stream is closed.
  const cells = Buffer.alloc(16);
  const stream: unknown = libraries().stream.open(cells, cells.subarray(8));
  if (!stream) throw new Error('open_memstream failed: out of memory');
  const result = libraries().nv.printJson(stream, list) as number;
  libraries().stream.close(stream);
  const text = cells.readBigUInt64LE();
  try {
    if (result < 0) throw new Error('a list that ZFS returned could not be printed');
    return libraries().textAt(text, Number(cells.readBigUInt64LE(8)));
  } finally {
    libraries().stream.release(text);
  }
}

function must(what: string, errno: number): void {
  if (errno !== 0) throw new Error(`a list for ZFS could not be made: ${what} gave ${errno}`);
}
