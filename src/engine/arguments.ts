import { CoppiceError } from '../model/errors.ts';

/**
 * What callers without types may get wrong: looked at once, where a call comes in, so that all behind may rely on its types.
 * Whether a value of the right kind makes sense is for the operation to say.
 */

type Kind = 'string' | 'number' | 'boolean' | 'object' | 'function' | 'AbortSignal';
type Fields = Readonly<Record<string, Kind>>;

/** What is wrong with a value, in a form that follows its name, or nothing. */
type Check = (value: unknown, name: string) => string | undefined;

interface Argument {
  readonly name: string;
  readonly check: Check;
}

/** One that must be there. */
function required(name: string, kind: Kind): Argument {
  return { name, check: (value) => unlessIs(value, kind, name) };
}

function optional(name: string, kind: Kind): Argument {
  return orNone(required(name, kind));
}

/** An object whose fields may all be left out. */
function fieldsOf(fields: Fields): Argument {
  const entries = Object.entries(fields);
  return {
    name: 'options',
    check(value, name) {
      if (typeof value !== 'object' || value === null || Array.isArray(value))
        return `${name} must be an object, and not ${kindOf(value)}`;
      for (const [field, kind] of entries) {
        const given: unknown = Reflect.get(value, field);
        const wrong = given === undefined ? undefined : unlessIs(given, kind, `${name}.${field}`);
        if (wrong !== undefined) return wrong;
      }
      return undefined;
    },
  };
}

/** The same, which may itself be left out. */
function options(fields: Fields): Argument {
  return orNone(fieldsOf(fields));
}

/** An object with a size, which has to be there. */
function sizeOptions(): Argument {
  const { name, check } = fieldsOf(durability);
  return {
    name,
    check: (value) =>
      check(value, name) ?? unlessIs(Reflect.get(Object(value), 'bytes'), 'number', `${name}.bytes`),
  };
}

function orNone({ name, check }: Argument): Argument {
  return { name, check: (value) => (value === undefined ? undefined : check(value, name)) };
}

const durability = { durability: 'string' } as const;
const long = { signal: 'AbortSignal', onProgress: 'function' } as const;
const marked = { request: 'string' } as const;
const cloning = { bytes: 'number', replicable: 'boolean', ...marked, ...durability } as const;
const bootFiles = { fstab: 'string', unitDirectory: 'string' } as const;
const persisting = { systemd: 'boolean', dryRun: 'boolean', ...bootFiles } as const;

/** One or several, that must be there. */
function several(name: string): Argument {
  return {
    name,
    check(value) {
      if (typeof value === 'string') return undefined;
      if (Array.isArray(value) && value.every((each) => typeof each === 'string')) return undefined;
      return `${name} must be a string or an array of strings`;
    },
  };
}

/** The methods of an open pool. */
const methodArguments: Readonly<Record<string, readonly Argument[]>> = {
  import: [
    required('name', 'string'),
    required('source', 'string'),
    options({ format: 'string', sha256: 'string', ...marked, ...long }),
  ],
  adopt: [
    several('sources'),
    options({
      as: 'string',
      rename: 'object',
      copy: 'boolean',
      force: 'boolean',
      keepGoing: 'boolean',
      removeOriginals: 'boolean',
      dryRun: 'boolean',
      ...long,
    }),
  ],
  adoptTree: [
    required('directory', 'string'),
    options({
      name: 'string',
      nodatacow: 'object',
      copy: 'boolean',
      verify: 'boolean',
      force: 'boolean',
      keep: 'boolean',
      dryRun: 'boolean',
      ...long,
    }),
  ],
  undoAdoption: [required('directory', 'string'), options({ force: 'boolean', dryRun: 'boolean' })],
  removeOriginal: [required('directory', 'string'), options({ dryRun: 'boolean' })],
  export: [
    required('source', 'string'),
    required('file', 'string'),
    options({ format: 'string', overwrite: 'boolean', ...long }),
  ],
  create: [
    required('name', 'string'),
    fieldsOf({
      ...durability,
      ...marked,
      kind: 'string',
      bytes: 'number',
      blockBytes: 'number',
      owner: 'string',
      mode: 'number',
      at: 'object',
    }),
  ],
  clone: [required('source', 'string'), required('name', 'string'), options(cloning)],
  cloneMany: [
    required('source', 'string'),
    required('name', 'string'),
    required('count', 'number'),
    options({ ...cloning, ...long }),
  ],
  snapshot: [
    several('references'),
    options({
      name: 'string',
      consistency: 'string',
      allowWeaker: 'boolean',
      heldStill: 'string',
      frozenUntil: 'number',
      expires: 'string',
      reason: 'string',
      ...marked,
      ...durability,
      ...long,
    }),
  ],
  mount: [
    required('volume', 'string'),
    optional('directory', 'string'),
    options({ link: 'boolean', persist: 'boolean', ...persisting }),
  ],
  unmount: [
    required('volume', 'string'),
    optional('directory', 'string'),
    options({ force: 'boolean', dryRun: 'boolean', ...bootFiles }),
  ],
  set: [required('volume', 'string'), required('changes', 'object'), options(durability)],
  settings: [required('volume', 'string')],
  verify: [
    required('reference', 'string'),
    options({ sql: 'object', timeoutMilliseconds: 'number', programs: 'string', ...long }),
  ],
  branch: [
    required('source', 'string'),
    required('name', 'string'),
    options({ start: 'boolean', port: 'number', programs: 'string', ...long }),
  ],
  startBranch: [required('name', 'string'), options({ programs: 'string', ...long })],
  guard: [
    required('volume', 'string'),
    required('change', 'function'),
    options({
      consistency: 'string',
      allowWeaker: 'boolean',
      timeoutMilliseconds: 'number',
      signal: 'AbortSignal',
      within: 'string',
    }),
  ],
  recoverGuard: [required('volume', 'string'), required('what', 'string'), optional('id', 'string')],
  guards: [required('volume', 'string')],
  hold: [several('references'), options({ reason: 'string', ...durability })],
  release: [several('references'), options(durability)],
  policies: [],
  verifyDue: [options({ volumes: 'object', dryRun: 'boolean', ...long })],
  applyPolicies: [options({ volumes: 'object', dryRun: 'boolean', decisions: 'boolean', ...long })],
  rollback: [
    required('reference', 'string'),
    options({
      force: 'boolean',
      dryRun: 'boolean',
      stop: 'boolean',
      alone: 'boolean',
      ...marked,
      ...durability,
    }),
  ],
  rename: [required('from', 'string'), required('to', 'string'), options({ ...bootFiles, ...durability })],
  check: [options(bootFiles)],
  grow: [required('name', 'string'), sizeOptions()],
  seal: [required('source', 'string'), required('template', 'string'), options({ ...marked, ...durability })],
  remove: [
    several('references'),
    options({
      withSnapshots: 'boolean',
      force: 'boolean',
      ifExists: 'boolean',
      dryRun: 'boolean',
      onProgress: 'function',
      ...durability,
    }),
  ],
  listSnapshots: [optional('volume', 'string')],
  show: [required('name', 'string')],
  diskPath: [required('reference', 'string')],
  tree: [optional('name', 'string')],
  diff: [required('from', 'string'), optional('to', 'string'), options({ limit: 'number' })],
  usage: [orNone(several('references')), options({ exact: 'boolean', onProgress: 'function' })],
};

/** What a pool is made of, where devices may be one or several. */
function poolOptions(): Argument {
  const { name, check } = fieldsOf({
    path: 'string',
    driver: 'string',
    file: 'string',
    bytes: 'number',
    preallocate: 'boolean',
    force: 'boolean',
    existing: 'boolean',
  });
  const device = orNone(several('options.device'));
  return {
    name,
    check: (value) =>
      check(value, name) ?? device.check(Reflect.get(Object(value), 'device'), `${name}.device`),
  };
}

/** The functions beside it. */
type FunctionName =
  | 'openPool'
  | 'createPool'
  | 'describeLoss'
  | 'destroyPool'
  | 'doctor'
  | 'growPool'
  | 'notifyHypervisor'
  | 'freezeGuest'
  | 'persistPool';

export const functionArguments: Readonly<Record<FunctionName, readonly Argument[]>> = {
  openPool: [
    optional('path', 'string'),
    options({ inline: 'boolean', lockTimeout: 'number', auditLog: 'string', program: 'string' }),
  ],
  createPool: [poolOptions()],
  describeLoss: [required('path', 'string')],
  destroyPool: [required('path', 'string'), fieldsOf({ force: 'boolean', ...persisting })],
  doctor: [optional('path', 'string'), options({ fstab: 'string', unitDirectory: 'string' })],
  growPool: [
    required('path', 'string'),
    required('bytes', 'number'),
    options({ auditLog: 'string', program: 'string', by: 'object' }),
  ],
  persistPool: [required('path', 'string'), fieldsOf(persisting)],
  notifyHypervisor: [
    required('target', 'object'),
    required('disk', 'object'),
    options({ timeoutMilliseconds: 'number', signal: 'AbortSignal' }),
  ],
  freezeGuest: [
    required('target', 'object'),
    fieldsOf({ timeoutMilliseconds: 'number', signal: 'AbortSignal' }),
    required('work', 'object'),
  ],
};

/** @throws CoppiceError invalid_argument */
export function checkArguments(call: string, wanted: readonly Argument[], given: readonly unknown[]): void {
  for (const [index, { name, check }] of wanted.entries()) {
    const wrong = check(given[index], name);
    if (wrong !== undefined) throw new CoppiceError('invalid_argument', `${call}(): ${wrong}.`);
  }
}

/** The same function, which looks at its arguments first. */
export function checking<A extends readonly unknown[], R>(
  call: FunctionName,
  run: (...given: A) => R,
): (...given: A) => R {
  return (...given) => {
    checkArguments(call, functionArguments[call], given);
    return run(...given);
  };
}

/** The same for one that returns a promise, which then rejects. */
export function checkingLater<A extends readonly unknown[], R>(
  call: FunctionName,
  run: (...given: A) => Promise<R>,
): (...given: A) => Promise<R> {
  const checked = checking(call, run);
  return async (...given) => checked(...given);
}

/** Has the methods of a class, which return promises, look at their arguments first: what is wrong rejects, and never throws. */
export function checkMethods(prototype: object): void {
  for (const [name, wanted] of Object.entries(methodArguments)) {
    const method: unknown = Reflect.get(prototype, name);
    if (typeof method !== 'function') throw new Error(`There is no method ${name}.`);
    const value = function (this: unknown, ...given: unknown[]): unknown {
      try {
        checkArguments(`pool.${name}`, wanted, given);
      } catch (error) {
        return Promise.reject(error);
      }
      return Reflect.apply(method, this, given);
    };
    Object.defineProperty(prototype, name, { value, writable: true, configurable: true });
  }
}

function unlessIs(value: unknown, kind: Kind, name: string): string | undefined {
  const is = kind === 'AbortSignal' ? isSignal(value) : typeof value === kind && value !== null;
  if (is) return undefined;
  const hint =
    kind === 'number' && typeof value === 'string' && name.endsWith('bytes')
      ? '; parseSize() reads "10G"'
      : '';
  return `${name} must be ${withArticle(kind)}, and not ${kindOf(value)}${hint}`;
}

/** Not by its class: it may come from another realm. */
function isSignal(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'aborted' in value && 'addEventListener' in value;
}

function kindOf(value: unknown): string {
  if (value === undefined) return 'left out';
  if (value === null) return 'null';
  return withArticle(Array.isArray(value) ? 'array' : typeof value);
}

function withArticle(word: string): string {
  return `${/^[aeiou]/i.test(word) ? 'an' : 'a'} ${word}`;
}
