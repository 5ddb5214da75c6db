import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Metadata, rememberedAncestors } from './metadata.ts';
import { decodeMetadata, decodePoolFormat, encodeMetadata } from './metadata-text.ts';

const ancestor = { id: 'i', name: 'n' };
const examples: readonly Metadata[] = [
  { type: 'volume', id: 'i', kind: 'block', created: 'c', origin: [], method: 'create' },
  {
    type: 'volume',
    id: 'i',
    kind: 'block',
    created: 'c',
    origin: [ancestor, { ...ancestor, snapshot: 's' }],
    method: 'import',
    sealed: { at: 'a', extents: 3, generation: '7' },
    adopted: { file: 'f', filesystem: 'x', inode: '1', changed: '2', bytes: 3 },
  },
  {
    type: 'snapshot',
    id: 'i',
    volumeId: 'v',
    created: 'c',
    consistency: 'sync',
    reason: 'user',
    generation: '7',
    group: '6f1c0f9e-5a4e-4b0e-9d55-0c8f6f5b7a11',
    removal: '0d7c9f4a-98a1-4f3c-8a43-5b2f1f0f9a22',
    hold: { at: 'a', reason: 'r' },
    expires: 'e',
    verified: {
      at: 'a',
      result: 'failed',
      checks: [
        { name: 'n', result: 'passed' },
        { name: 'm', result: 'failed', message: 'w' },
      ],
    },
  },
  {
    type: 'rollback',
    volumeId: 'v',
    volume: 'n',
    target: 't',
    keep: 'k',
    replacedUuid: 'r',
    stagedUuid: 's',
    created: 'c',
  },
  { type: 'tombstone', id: 'i', name: 'n', removed: 'r', origin: [ancestor] },
  { type: 'work', action: 'import', volume: 'n' },
  { type: 'group', action: 'snapshot', created: 'c' },
  { type: 'pool', format: 1, id: 'i', created: 'c', filesystem: 'f', backing: { type: 'existing' } },
  {
    type: 'pool',
    format: 1,
    id: 'i',
    created: 'c',
    filesystem: 'f',
    backing: { type: 'loop', file: '/x', preallocated: false },
  },
];

const decode = (value: unknown): Metadata | undefined =>
  decodeMetadata(Buffer.from(JSON.stringify(value) ?? ''));

describe('metadata', () => {
  test.each(examples)('of $type is read as it was written', (metadata) => {
    expect(decodeMetadata(Buffer.from(encodeMetadata(metadata)))).toEqual(metadata);
  });

  test.each(examples)(
    'of $type with any required field missing or of another type is not taken',
    (metadata) => {
      const optional = new Set(['sealed', 'adopted', 'group', 'removal', 'hold', 'expires', 'verified']);
      for (const field of Object.keys(metadata).filter((each) => !optional.has(each))) {
        for (const wrong of [undefined, null, {}, true])
          expect(decode({ ...metadata, [field]: wrong }), `${field}: ${String(wrong)}`).toBeUndefined();
      }
    },
  );

  test('of a newer version may say more than we know', () => {
    for (const metadata of examples) expect(decode({ ...metadata, newer: [1] })).toMatchObject(metadata);
  });

  test('garbage is nothing, and never an exception', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(decodeMetadata(Buffer.from(bytes))).toBeUndefined();
      }),
    );
    fc.assert(
      fc.property(fc.json(), (text) => {
        const decoded = decodeMetadata(Buffer.from(text));
        decodePoolFormat(Buffer.from(text));
        expect(decoded).toBeUndefined();
      }),
    );
  });

  test('of a type that every object has by that name is nothing', () => {
    for (const type of ['constructor', 'toString', '__proto__', 'hasOwnProperty', 'valueOf'])
      expect(decodeMetadata(Buffer.from(`{"type":"${type}"}`)), type).toBeUndefined();
  });

  test('that is changed anywhere is read as something of the same shape, or not at all', () => {
    const anything = fc.oneof(fc.jsonValue(), fc.constantFrom(null, '', 0, [], {}));
    fc.assert(
      fc.property(fc.constantFrom(...examples), fc.string(), anything, (metadata, extra, value) => {
        for (const field of [...Object.keys(metadata), extra]) {
          const decoded = decode({ ...metadata, [field]: value });
          if (decoded?.type === 'volume' || decoded?.type === 'tombstone') {
            for (const each of decoded.origin)
              expect([typeof each.id, typeof each.name]).toEqual(['string', 'string']);
          }
          if (decoded?.type === 'volume' && decoded.sealed)
            expect(typeof decoded.sealed.extents).toBe('number');
          if (decoded?.type === 'volume' && decoded.adopted)
            expect([typeof decoded.adopted.inode, typeof decoded.adopted.bytes]).toEqual([
              'string',
              'number',
            ]);
          if (decoded?.type === 'snapshot') {
            expect(['undefined', 'string']).toContain(typeof decoded.expires);
            expect(['undefined', 'string']).toContain(typeof decoded.hold?.reason);
            if (decoded.hold) expect(typeof decoded.hold.at).toBe('string');
            if (decoded.verified) expect(['passed', 'failed']).toContain(decoded.verified.result);
            for (const check of decoded.verified?.checks ?? []) expect(typeof check.name).toBe('string');
          }
          if (decoded?.type === 'pool') expect(typeof decoded.backing.type).toBe('string');
        }
      }),
    );
  });

  test("the format of a pool's marker is read whatever else a newer version may have written", () => {
    const format = (value: unknown): number | undefined =>
      decodePoolFormat(Buffer.from(JSON.stringify(value)));
    expect(format({ type: 'pool', format: 99, layout: ['new'] })).toBe(99);
    expect(format({ type: 'pool', format: '99' })).toBeUndefined();
    expect(format({ type: 'volume', format: 99 })).toBeUndefined();
    expect(format(null)).toBeUndefined();
    expect(decodePoolFormat(Buffer.from('{'))).toBeUndefined();
  });

  test.each([
    ['snapshot', 'group'],
    ['snapshot', 'removal'],
    ['volume', 'removal'],
  ] as const)(
    'of a %s whose %s is no id is refused, because it is looked for by that name',
    (type, field) => {
      const example = examples.find((metadata) => metadata.type === type);
      for (const wrong of ['../../etc', '.', '', '/', 'g', 5, null, `${'a'.repeat(36)}/x`])
        expect(decode({ ...example, [field]: wrong })).toBeUndefined();
      expect(decode({ ...example, [field]: 'a'.repeat(36) })).toBeDefined();
    },
  );

  test('with the longest names and all ancestors that are remembered fits into an attribute', () => {
    const longest = { id: 'x'.repeat(36), name: 'n'.repeat(63), snapshot: 's'.repeat(63) };
    const text = encodeMetadata({
      type: 'volume',
      id: longest.id,
      kind: 'block',
      created: new Date(0).toISOString(),
      origin: Array.from({ length: rememberedAncestors }, () => longest),
      method: 'snapshot',
      sealed: { at: new Date(0).toISOString(), extents: 2 ** 32, generation: String(2n ** 64n) },
      adopted: {
        file: '\u0001'.repeat(255),
        filesystem: 'btrfs'.repeat(20),
        inode: String(2n ** 64n),
        changed: String(2n ** 64n),
        bytes: Number.MAX_SAFE_INTEGER,
      },
      removal: longest.id,
    });
    expect(Buffer.byteLength(text)).toBeLessThan(8000);
  });
});
