import { judge } from './judge.ts';
import { mayYield } from './pressure.ts';
import { compare, type Decision, inOrder, keyOf, type PolicyVolume, type Situation } from './situation.ts';

export interface Decisions {
  /** In the order of the volumes, the oldest first; those whose order nobody knows come before. */
  readonly decisions: readonly Decision[];
  /** While there is too little space, one after the other, until there is enough: what goes then, in this order. */
  readonly underPressure: ReadonlyArray<Pick<Decision, 'volume' | 'name'>>;
  /** What a person should know. */
  readonly warnings: readonly string[];
}

/**
 * Which snapshots stay and which go, and why: a function of nothing but what is given. What goes may change what the rest is judged by, so
 * the rest is judged again, as if that were gone, until nothing more goes: to do it twice removes nothing more.
 */
export function decide(situation: Situation): Decisions {
  const gone = new Map<string, Decision>();
  for (;;) {
    const rest = { ...situation, volumes: situation.volumes.map((volume) => without(volume, gone)) };
    const { decisions, warnings } = judge(rest);
    const going = decisions.filter(({ goes }) => goes);
    for (const decision of going) gone.set(keyOf(decision), decision);
    if (going.length > 0) continue;
    const all = new Map([...decisions, ...gone.values()].map((each) => [keyOf(each), each]));
    return {
      decisions: situation.volumes.flatMap((volume) => listed(volume, all)),
      underPressure: mayYield(rest, decisions),
      warnings,
    };
  }
}

function without(volume: PolicyVolume, gone: ReadonlyMap<string, Decision>): PolicyVolume {
  const snapshots = volume.snapshots.filter(({ name }) => !gone.has(keyOf({ volume: volume.name, name })));
  return { ...volume, snapshots };
}

function listed(volume: PolicyVolume, all: ReadonlyMap<string, Decision>): Decision[] {
  const ordered = inOrder(volume.snapshots).map(({ name }) => name);
  const placed = new Set(ordered);
  const others = volume.snapshots.map(({ name }) => name).filter((name) => !placed.has(name));
  return [...others.sort(compare), ...ordered].flatMap(
    (name) => all.get(keyOf({ volume: volume.name, name })) ?? [],
  );
}
