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
  }),
  fc.record({ kind: fc.constant('delete' as const), name }),
  fc.record({ kind: fc.constant('rename' as const), name, to: name }),
);

function entryOf(of: string, id: string, snapshots: readonly string[]): Listed {
  return {
    volume: { name: of, type: 'volume', id, snapshots: snapshots.length },
    snapshots: snapshots.map((each) => ({ reference: `${of}@${each}`, name: each, created: id })),
  };
}

test('lists what a map would, in order and in pages; and who follows its changes knows the same', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const model = new Map<string, Listed>();
      const followed = new Set<string>();
      const follow = (change: Change): void => {
        const what = 'volume' in change ? change.volume.name : change.snapshot.reference;
        if (change.type === 'removed') followed.delete(what);
        else followed.add(what);
      };
      const index = new PoolIndex(follow);
      for (const each of steps) {
        if (each.kind === 'set') {
          model.set(each.name, entryOf(each.name, each.id, each.snapshots));
          index.set(each.name, entryOf(each.name, each.id, each.snapshots));
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
      const things = [...model.values()].flatMap(({ volume, snapshots }) => [
        volume.name,
        ...snapshots.map(({ reference }) => reference),
      ]);
      expect([...followed].sort()).toEqual(things.sort());
      expect(index.counts).toEqual({
        templates: 0,
        volumes: model.size,
        snapshots: [...model.values()].reduce((sum, { snapshots }) => sum + snapshots.length, 0),
      });
    }),
    { numRuns: 500 },
  );
});
