import {
  create,
  type DescField,
  type DescMessage,
  type DescMethod,
  getOption,
  hasOption,
  type Message,
  ScalarType,
} from '@bufbuild/protobuf';
import { type FieldRule, Resource, rule } from '../../src/api/generated/coppice/v1/annotations_pb.ts';

/** Requests that break one rule of the contract each, made from its descriptors: a new field is tested without a new test. */

export interface BadRequest {
  readonly method: DescMethod;
  /** The field that has to be named. */
  readonly field: string;
  readonly why: string;
  readonly message: Message;
}

/** What a request needs to be valid, where a rule does not say it. */
export interface Given {
  readonly pool: string;
  readonly volume: string;
  readonly snapshot: string;
}

export function badRequestsOf(method: DescMethod, given: Given): BadRequest[] {
  return badFields(method.input, given).map(({ path, why, change }) => {
    const message = validMessage(method.input, given);
    change(message as unknown as Record<string, unknown>);
    return { method, field: path, why, message };
  });
}

interface BadField {
  readonly path: string;
  readonly why: string;
  readonly change: (message: Record<string, unknown>) => void;
}

function badFields(descriptor: DescMessage, given: Given): BadField[] {
  return descriptor.fields.flatMap((field) => [...badValuesOf(field, given), ...badInside(field, given)]);
}

function badValuesOf(field: DescField, given: Given): BadField[] {
  return badValues(field, given).map(([why, value]) => ({
    path: field.name,
    why,
    change: (message) => set(message, field, value),
  }));
}

/** Of a field that is a message, each of its own fields. */
function badInside(field: DescField, given: Given): BadField[] {
  if (field.fieldKind !== 'message' || field.message.typeName === 'google.protobuf.FieldMask') return [];
  const { message: inner } = field;
  return badFields(inner, given).map(({ path, why, change }) => ({
    path: `${field.name}.${path}`,
    why,
    change(message) {
      const value = validMessage(inner, given);
      change(value as unknown as Record<string, unknown>);
      set(message, field, value);
    },
  }));
}

function badValues(field: DescField, given: Given): Array<readonly [why: string, value: unknown]> {
  const own = hasOption(field, rule) ? getOption(field, rule) : undefined;
  if (field.fieldKind === 'enum') return [['no such value', 99]];
  if (field.fieldKind === 'scalar') return badScalars(field.scalar, own);
  if (field.fieldKind === 'list' && field.listKind === 'scalar') {
    const good = validScalar(field.scalar, own, given);
    const most = own?.maxItems || 1000;
    return [
      ...(own?.required ? [['left out', []] as const] : []),
      ...badScalars(field.scalar, own).map(([why, value]) => [why, [good, value]] as const),
      ['too many', Array.from({ length: most + 1 }, () => good)],
    ];
  }
  return [];
}

function badScalars(scalar: ScalarType, own: FieldRule | undefined): Array<readonly [string, unknown]> {
  switch (scalar) {
    case ScalarType.STRING: {
      const longest = own?.maxLength || 4096;
      return [
        ...(own?.required ? [['left out', ''] as const] : []),
        ['too long', 'a'.repeat(longest + 1)],
        ['too long in bytes', 'ä'.repeat(longest / 2 + 1)],
        ...(isFormed(own)
          ? hostileNames.map((text) => [`hostile ${JSON.stringify(text)}`, text] as const)
          : [['with a zero byte', 'a\0b'] as const]),
      ];
    }
    case ScalarType.INT32:
      return [
        ...(own?.required ? [['left out', 0] as const] : []),
        ['negative', -1],
        ['the smallest', -(2 ** 31)],
        ...(own?.max ? [['huge', 2 ** 31 - 1] as const] : []),
      ];
    case ScalarType.INT64:
      return [
        ...(own?.required ? [['left out', 0n] as const] : []),
        ['negative', -1n],
        ['the smallest', -(2n ** 63n)],
        ['huge', 2n ** 63n - 1n],
      ];
    case ScalarType.BOOL:
      return [];
    default:
      throw new Error(`The fuzz knows no values for a scalar of type ${ScalarType[scalar]}; teach it.`);
  }
}

/** Texts that are no name, no resource name, no path, no request id and no digest. */
const hostileNames = [
  '../../etc/passwd',
  'pools/../volumes/x',
  'pools/p/volumes/../../../etc',
  'pools//volumes/x',
  'pools/p/volumes/x/',
  'pools/p/volumes/x\n',
  'a\0b',
  ' ',
  '.hidden/x',
  '-rf /',
  '$(reboot)',
  'a\u202eb',
  '\ud83d\ude00',
];

function isFormed(own: FieldRule | undefined): boolean {
  if (!own) return false;
  return (
    own.identifier || own.requestId || own.hostPath || own.sha256 || own.resource !== Resource.UNSPECIFIED
  );
}

/** One that breaks no rule. */
export function validMessage(descriptor: DescMessage, given: Given): Message {
  const message = create(descriptor);
  for (const field of descriptor.fields) {
    const own = hasOption(field, rule) ? getOption(field, rule) : undefined;
    if (!own?.required) continue;
    if (field.fieldKind === 'scalar') set(message as never, field, validScalar(field.scalar, own, given));
    else if (field.fieldKind === 'list' && field.listKind === 'scalar')
      set(message as never, field, [validScalar(field.scalar, own, given)]);
  }
  return message;
}

function validScalar(scalar: ScalarType, own: FieldRule | undefined, given: Given): unknown {
  if (scalar === ScalarType.INT32) return 1;
  if (scalar === ScalarType.INT64) return 1n;
  if (own?.identifier) return 'fuzzed';
  if (own?.requestId) return 'fuzz-1';
  if (own?.hostPath) return '/nowhere/at/all';
  if (own?.sha256) return 'a'.repeat(64);
  return names(given)[own?.resource ?? Resource.UNSPECIFIED] ?? 'text';
}

function names({ pool, volume, snapshot }: Given): Readonly<Partial<Record<Resource, string>>> {
  const ofVolume = `pools/${pool}/volumes/${volume}`;
  return {
    [Resource.POOL]: `pools/${pool}`,
    [Resource.VOLUME]: ofVolume,
    [Resource.SNAPSHOT]: `${ofVolume}/snapshots/${snapshot}`,
    [Resource.VOLUME_OR_SNAPSHOT]: ofVolume,
    [Resource.JOB]: `pools/${pool}/jobs/nothing`,
  };
}

function set(message: Record<string, unknown>, field: DescField, value: unknown): void {
  if (field.oneof) message[field.oneof.localName] = { case: field.localName, value };
  else message[field.localName] = value;
}
