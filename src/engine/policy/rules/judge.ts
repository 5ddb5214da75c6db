import { believedTime, timesOf, witnessesIn } from './clock.ts';
import { importanceOf, keptByNumber } from './numbers.ts';
import { keepsNumbers, numbersOf } from './policy.ts';
import {
  type Decision,
  inOrder,
  type KnownSnapshot,
  type Ordered,
  type PolicyVolume,
  type Situation,
} from './situation.ts';

interface Judged {
  readonly decisions: readonly Decision[];
  readonly warnings: readonly string[];
}

/** Judges each snapshot for what it is, and then the groups. */
export function judge({ volumes, now, runs }: Situation): Judged {
  const ordered = new Map(volumes.map((volume) => [volume, inOrder(volume.snapshots)]));
  const stamps = [...ordered.values()].flatMap((own) => witnessesIn(own).map(({ created }) => created));
  const believed = believedTime(now, [...stamps, ...runs]);
  const warnings: string[] = [];
  const decisions = volumes.flatMap((volume) => {
    const own = ordered.get(volume) ?? [];
    const ahead = aheadOf(own, now);
    if (ahead && (volume.policy?.maxAge || own.some(({ expires }) => expires !== undefined)))
      warnings.push(
        `The clock says ${iso(now)}, but ${volume.name}@${ahead.name}, the last that was taken, is of ${iso(ahead.created)}: nothing of ${volume.name} goes for its age.`,
      );
    return judgeVolume(volume, own, { now, believed: ahead ? undefined : believed });
  });
  return { decisions: keepingGroups(volumes, decisions), warnings };
}

/** The snapshot that was taken last, if the clock has not come so far yet. */
function aheadOf(ordered: readonly Ordered[], now: number): Ordered | undefined {
  const last = ordered.at(-1);
  return last && last.created > now ? last : undefined;
}

interface Time {
  readonly now: number;
  readonly believed: number | undefined;
}

function judgeVolume(volume: PolicyVolume, ordered: readonly Ordered[], time: Time): Decision[] {
  const staying = protectedIn(volume, ordered);
  const leaving = expired(volume, ordered, time);
  const own = ordered.filter(isOwn).reverse();
  // What goes for its age is no part of any number.
  const counted = own.filter(({ name }) => !leaving.has(name) || staying.has(name));
  const { policy } = volume;
  const kept = policy && keepsNumbers(policy) ? keptByNumber(policy, counted) : undefined;
  return volume.snapshots.map(({ name, known }) => {
    const decided = (goes: boolean, reasons: readonly string[]): Decision => ({
      volume: volume.name,
      name,
      goes,
      reasons,
    });
    const held = staying.get(name) ?? [];
    const numbers = kept?.get(name) ?? [];
    const age = leaving.get(name);
    if (age !== undefined && held.length === 0) return decided(true, [age]);
    // Unless that stays: then it keeps this one, as any of a group.
    if (known?.isPart && held.length === 0) return decided(true, ['goes with what it is a part of']);
    if (!known || !policy || known.reason !== 'policy')
      return decided(false, held.length > 0 ? held : [whyOthersStay(known, policy)]);
    const reasons = [...held, ...numbers.map(({ text }) => text)];
    if (kept && reasons.length === 0) return decided(true, [`over ${numbersOf(policy)}`]);
    const staysFor =
      reasons.length > 0
        ? reasons
        : [policy.maxAge ? `not older than ${policy.maxAge.text}` : 'no number is set'];
    const mayYield = held.length === 0 && known.group === undefined;
    return { ...decided(false, staysFor), ...(mayYield && { importance: importanceOf(numbers) }) };
  });
}

/** Whether the policy of its volume has taken it. */
function isOwn({ reason, isPart }: KnownSnapshot): boolean {
  return reason === 'policy' && !isPart;
}

function whyOthersStay(known: KnownSnapshot | undefined, policy: PolicyVolume['policy']): string {
  if (!known) return "its metadata can't be read";
  if (known.expires !== undefined) return `expires ${iso(known.expires)}`;
  if (known.reason === 'user') return 'taken by hand';
  if (known.reason === 'rollback') return 'kept by a rollback';
  if (known.reason === 'guard') return 'taken by a guard';
  return known.reason === 'policy' && !policy ? 'no policy is set any more' : 'taken for something else';
}

/** What stays whatever its policy says, by name, and why. */
function protectedIn(
  { policy, spared, snapshots }: PolicyVolume,
  ordered: readonly Ordered[],
): Map<string, string[]> {
  const reasons = new Map<string, string[]>();
  const protect = (name: string, reason: string): void => {
    const others = reasons.get(name);
    if (others) others.push(reason);
    else reasons.set(name, [reason]);
  };
  const placed = new Set(ordered.map(({ name }) => name));
  for (const { name, known } of snapshots) {
    if (!known) continue;
    if (known.isPlanned) protect(name, 'to be taken');
    if (known.hold) protect(name, known.hold.reason === undefined ? 'held' : `held: ${known.hold.reason}`);
    if (known.neededBy && known.neededBy.length > 0) protect(name, `needed by ${known.neededBy.join(', ')}`);
    if (!placed.has(name)) protect(name, 'its place in the order is not known');
    else if (spared !== undefined) protect(name, spared);
  }
  const proven = ordered.findLast(({ verified }) => verified?.result === 'passed');
  if (proven) protect(proven.name, 'newest verified');
  const least = policy?.keepAtLeast ?? 0;
  const own = ordered.filter(isOwn);
  for (const { name } of least > 0 ? own.slice(-least) : [])
    protect(name, least === 1 ? 'the newest' : `one of the newest ${least}`);
  return reasons;
}

/** What is over for its age, by name, and why; nothing where no time is believed. */
function expired(
  { policy }: PolicyVolume,
  ordered: readonly Ordered[],
  { now, believed }: Time,
): ReadonlyMap<string, string> {
  const leaving = new Map<string, string>();
  if (believed === undefined) return leaving;
  const times = timesOf(ordered, now);
  for (const { name, reason, created, expires } of ordered) {
    const taken = times.get(name);
    if (taken === undefined) continue;
    // It lasts as long as was asked for, also where the clock was wrong when that was written.
    if (expires !== undefined && expires + taken - created <= believed)
      leaving.set(name, `expired ${iso(expires)}`);
    else if (reason === 'policy' && policy?.maxAge && taken + policy.maxAge.milliseconds < believed)
      leaving.set(name, `older than ${policy.maxAge.text}`);
  }
  return leaving;
}

/** What was taken together goes together: one that stays keeps the others. */
function keepingGroups(volumes: readonly PolicyVolume[], decisions: readonly Decision[]): Decision[] {
  const groups = new Map<string, string>();
  for (const volume of volumes)
    for (const { name, known } of volume.snapshots)
      if (known?.group !== undefined) groups.set(`${volume.name}@${name}`, known.group);
  const keepers = new Map<string, string>();
  for (const { volume, name, goes } of decisions) {
    const group = groups.get(`${volume}@${name}`);
    if (!goes && group !== undefined && !keepers.has(group)) keepers.set(group, `${volume}@${name}`);
  }
  return decisions.map((decision) => {
    const keeper = keepers.get(groups.get(`${decision.volume}@${decision.name}`) ?? '');
    if (!decision.goes || keeper === undefined) return decision;
    return { ...decision, goes: false, reasons: [`taken together with ${keeper}, which stays`] };
  });
}

function iso(time: number): string {
  return Number.isFinite(time) ? new Date(time).toISOString().replace(/:\d\d\.\d+Z$/, 'Z') : 'at no time';
}
