import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Listed } from '../../engine/operations/list.ts';
import { type Change, PoolIndex } from './pool-index.ts';

type Step =
  | {
      readonly kind: 'set';
      readonly name: string;
      readonly id: string;
      readonly snapshots: readonly string[];
      readonly reason: string;
    }
  | { readonly kind: 'delete'; readonly name: string }
  | { readonly kind: 'rename'; readonly name: string; readonly to: string };

const name = fc.constantFrom('a', 'B', 'c1', 'c-2', 'zz');
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    kind: fc.constant('set' as const),
    name,
    id: fc.constantFrom('1', '2'),
    snapshots: fc.uniqueArray(fc.constantFrom('s', 't', 'u')),
    reason: fc.constantFrom('', 'audit'),
  }),
  fc.record({ kind: fc.constant('delete' as const), name }),
  fc.record({ kind: fc.constant('rename' as const), name, to: name }),
);

/** @param reason why its snapshots are held; empty: they are not */
function entryOf(of: string, id: string, snapshots: readonly string[], reason: string): Listed {
  return {
    volume: { name: of, type: 'volume', id, snapshots: snapshots.length },
    snapshots: snapshots.map((each) => ({
      reference: `${of}@${each}`,
      name: each,
      created: id,
      ...(reason !== '' && { hold: { at: '2026-11-21', reason } }),
    })),
  };
}

test('lists what a map would, in order and in pages; and who follows its changes knows the same', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const model = new Map<string, Listed>();
      const followed = new Map<string, string | undefined>();
      const follow = (change: Change): void => {
        const what = 'volume' in change ? change.volume.name : change.snapshot.reference;
        if (change.type === 'removed') followed.delete(what);
        else {
          if (change.type === 'changed') expect(followed.has(what), `${what} was told before`).toBe(true);
          followed.set(what, 'snapshot' in change ? change.snapshot.hold?.reason : undefined);
        }
      };
      const index = new PoolIndex(follow);
      for (const each of steps) {
        if (each.kind === 'set') {
          model.set(each.name, entryOf(each.name, each.id, each.snapshots, each.reason));
          index.set(each.name, entryOf(each.name, each.id, each.snapshots, each.reason));
        } else if (each.kind === 'delete') {
          model.delete(each.name);
          index.delete(each.name);
        } else if (model.has(each.name) && !model.has(each.to)) {
          const { volume, snapshots } = model.get(each.name) as Listed;
          model.delete(each.name);
          model.set(
            each.to,
            entryOf(
              each.to,
              volume.id ?? '',
              snapshots.map((one) => one.name),
              snapshots[0]?.hold?.reason ?? '',
            ),
          );
          index.rename(each.name, each.to);
        }
      }
      const names = [...model.keys()].sort();
      expect(index.after('', 100).map(({ volume }) => volume.name)).toEqual(names);
      for (const [place, after] of names.entries())
        expect(index.after(after, 2).map(({ volume }) => volume.name)).toEqual(
          names.slice(place + 1, place + 3),
        );
      const things = [...model.values()].flatMap(
        ({ volume, snapshots }): Array<[string, string | undefined]> => [
          [volume.name, undefined],
          ...snapshots.map(({ reference, hold }): [string, string | undefined] => [reference, hold?.reason]),
        ],
      );
      expect(followed).toEqual(new Map(things));
      expect(index.counts).toEqual({
        templates: 0,
        volumes: model.size,
        snapshots: [...model.values()].reduce((sum, { snapshots }) => sum + snapshots.length, 0),
      });
    }),
    { numRuns: 500 },
  );
});
