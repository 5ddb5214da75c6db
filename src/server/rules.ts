import {
  type DescField,
  type DescMessage,
  getOption,
  hasOption,
  type Message,
  ScalarType,
} from '@bufbuild/protobuf';
import { type FieldRule, Resource, rule } from '../api/generated/coppice/v1/annotations_pb.ts';
import { parseResourceName, type ResourceName } from '../api/resource-names.ts';
import { isName } from '../model/names.ts';
import { printable } from '../model/printable.ts';

/**
 * Looks at requests by the rules that stand in the contract itself, so that what is told to readers is what is done. Each kind of message is
 * prepared once.
 */

export interface Violation {
  /** The path of the field, such as `notify.qmp.socket`. */
  readonly field: string;
  readonly description: string;
}

/** Everything that is wrong with a request. */
export function violationsOf(descriptor: DescMessage, message: Message): Violation[] {
  const found: Violation[] = [];
  checkerOf(descriptor)(message as unknown as Values, '', found);
  return found;
}

/** The pools that a request names. */
export function poolsIn(descriptor: DescMessage, message: Message): ReadonlySet<string> {
  const pools = new Set<string>();
  for (const field of resourceFieldsOf(descriptor)) {
    const value = (message as unknown as Values)[field];
    for (const each of Array.isArray(value) ? value : [value]) {
      const name = typeof each === 'string' ? parseResourceName(each) : undefined;
      if (name) pools.add(name.pool);
    }
  }
  return pools;
}

const sizes = new Map<DescMessage, number>();

/** The largest request of a kind that can be valid, in bytes, generously: what is larger is not even read. */
export function largestRequest(descriptor: DescMessage): number {
  let known = sizes.get(descriptor);
  if (known === undefined) {
    const lists = descriptor.fields.filter(({ fieldKind }) => fieldKind === 'list');
    known = lists.reduce((sum, field) => {
      const own = hasOption(field, rule) ? getOption(field, rule) : undefined;
      // A resource has a name of names; a path is seldom longer than that.
      const bytes = own?.resource ? 160 : 512;
      return sum + (own?.maxItems || usualItems) * bytes;
    }, usualRequest);
    sizes.set(descriptor, known);
  }
  return known;
}

type Values = Readonly<Record<string, unknown>>;
type Checker = (message: Values, path: string, found: Violation[]) => void;
/** What is wrong with a value, in a form that follows the name of the field; undefined when nothing is. */
type Look = (value: unknown) => string | undefined;

const checkers = new Map<DescMessage, Checker>();

const usualLength = 4096;
const usualItems = 1000;
const usualRequest = 64 * 1024;

function checkerOf(descriptor: DescMessage): Checker {
  const known = checkers.get(descriptor);
  if (known) return known;
  const fields: Checker[] = [];
  const checker: Checker = (message, path, found) => {
    for (const check of fields) check(message, path, found);
  };
  // Before its fields, one of which may hold a message of the same kind.
  checkers.set(descriptor, checker);
  fields.push(...descriptor.fields.map(checkField));
  return checker;
}

function checkField(field: DescField): Checker {
  const own = hasOption(field, rule) ? getOption(field, rule) : undefined;
  const look = lookAt(field, own);
  const inside = field.message && field.fieldKind !== 'map' ? checkerOf(field.message) : undefined;
  const group = field.oneof?.localName;
  return (message, path, found) => {
    const chosen = group === undefined ? undefined : (message[group] as { case?: string; value?: unknown });
    if (chosen && chosen.case !== field.localName) return;
    const value = chosen ? chosen.value : message[field.localName];
    const name = path === '' ? field.name : `${path}.${field.name}`;
    const wrong = look(value);
    if (wrong !== undefined) found.push({ field: name, description: wrong });
    else if (inside && Array.isArray(value))
      for (const [index, each] of value.entries()) inside(each as Values, `${name}[${index}]`, found);
    else if (inside && value !== undefined) inside(value as Values, name, found);
  };
}

function lookAt(field: DescField, own: FieldRule | undefined): Look {
  if (field.fieldKind === 'list') return lookAtList(field, own);
  const look = field.fieldKind === 'enum' ? lookAtEnum(field) : lookAtValue(field, own);
  const isRequired = own?.required ?? false;
  return (value) => {
    const isEmpty = value === undefined || value === '' || value === 0 || value === 0n;
    if (isEmpty) return isRequired ? 'must be given' : undefined;
    return look(value);
  };
}

function lookAtList(field: DescField & { readonly fieldKind: 'list' }, own: FieldRule | undefined): Look {
  const most = own?.maxItems || usualItems;
  const look = field.listKind === 'scalar' ? lookAtScalar(field.scalar, own) : () => undefined;
  return (value) => {
    const items = value as readonly unknown[];
    if (items.length === 0) return own?.required ? 'must be given' : undefined;
    if (items.length > most) return `has ${items.length} elements, and ${most} are the most`;
    for (const [index, each] of items.entries()) {
      const wrong = each === '' ? 'must not be empty' : look(each);
      if (wrong !== undefined) return `at ${index} ${wrong}`;
    }
    return undefined;
  };
}

function lookAtEnum(field: DescField & { readonly fieldKind: 'enum' }): Look {
  return (value) =>
    field.enum.value[value as number] === undefined ? `has no value ${value as number}` : undefined;
}

function lookAtValue(field: DescField, own: FieldRule | undefined): Look {
  return field.fieldKind === 'scalar' ? lookAtScalar(field.scalar, own) : () => undefined;
}

function lookAtScalar(scalar: ScalarType, own: FieldRule | undefined): Look {
  if (scalar === ScalarType.STRING) return lookAtText(own);
  if (scalar === ScalarType.BOOL || scalar === ScalarType.BYTES) return () => undefined;
  const least = own?.min ?? 0n;
  const most = own?.max || BigInt(Number.MAX_SAFE_INTEGER);
  return (value) => {
    if (typeof value === 'number' && !Number.isFinite(value)) return 'must be a number';
    const number = value as number | bigint;
    if (number < least) return least === 0n ? 'must not be negative' : `must be at least ${least}`;
    return number > most ? `must be at most ${most}` : undefined;
  };
}

function lookAtText(own: FieldRule | undefined): Look {
  const most = own?.maxLength || usualLength;
  const look = formOf(own);
  return (value) => {
    const text = value as string;
    // At least as many bytes as characters.
    if (text.length > most || Buffer.byteLength(text) > most) return `is longer than ${most} bytes`;
    if (text.includes('\0')) return 'must not contain a zero byte';
    return look(text);
  };
}

function formOf(own: FieldRule | undefined): (text: string) => string | undefined {
  if (own?.identifier)
    return (text) =>
      isName(text)
        ? undefined
        : `is no valid name: ${shown(text)}; use 1 to 63 letters, digits, ".", "_" or "-", starting with a letter or a digit`;
  if (own?.requestId)
    return (text) =>
      /^[A-Za-z0-9._:-]{1,64}$/.test(text)
        ? undefined
        : 'must be 1 to 64 letters, digits, ".", "_", ":" or "-"; a UUID is right';
  if (own?.hostPath)
    return (text) =>
      text.startsWith('/')
        ? undefined
        : `must be an absolute path on the host of the server, and ${shown(text)} is none`;
  if (own?.sha256)
    return (text) => (/^[0-9a-fA-F]{64}$/.test(text) ? undefined : 'must be 64 hexadecimal digits');
  const form = own && forms.get(own.resource);
  if (!form) return () => undefined;
  return (text) => {
    const name = parseResourceName(text);
    return name && form.kinds.includes(name.kind)
      ? undefined
      : `must have the form ${form.form}, and ${shown(text)} has not`;
  };
}

const forms: ReadonlyMap<
  Resource,
  { readonly form: string; readonly kinds: ReadonlyArray<ResourceName['kind']> }
> = new Map([
  [Resource.POOL, { form: 'pools/POOL', kinds: ['pool'] }],
  [Resource.VOLUME, { form: 'pools/POOL/volumes/VOLUME', kinds: ['volume'] }],
  [Resource.SNAPSHOT, { form: 'pools/POOL/volumes/VOLUME/snapshots/SNAPSHOT', kinds: ['snapshot'] }],
  [
    Resource.VOLUME_OR_SNAPSHOT,
    { form: 'pools/POOL/volumes/VOLUME[/snapshots/SNAPSHOT]', kinds: ['volume', 'snapshot'] },
  ],
  [Resource.JOB, { form: 'pools/POOL/jobs/JOB', kinds: ['job'] }],
]);

const resourceFields = new Map<DescMessage, readonly string[]>();

/** The fields of a request that hold resource names. */
function resourceFieldsOf(descriptor: DescMessage): readonly string[] {
  let known = resourceFields.get(descriptor);
  if (!known) {
    known = descriptor.fields
      .filter((field) => hasOption(field, rule) && getOption(field, rule).resource !== Resource.UNSPECIFIED)
      .map((field) => field.localName);
    resourceFields.set(descriptor, known);
  }
  return known;
}

function shown(text: string): string {
  return printable(JSON.stringify(text.slice(0, 80)));
}
