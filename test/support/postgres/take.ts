import type { Scope } from '../../../src/consistency/quiescer.ts';
import { makeQuiescer } from '../../../src/consistency/quiescers.ts';
import { openDirectory } from '../../../src/linux/open-directory.ts';
import { call } from '../../../src/linux/system-calls.ts';
import type { ApplicationState } from '../../../src/model/metadata.ts';
import type { Bed } from './bed.ts';

export interface Taken {
  readonly state: ApplicationState;
  /** The copies, by the names of the volumes. */
  readonly copies: Readonly<Record<string, string>>;
}

let count = 0;

/** Takes a snapshot as an operation does, of all volumes of the scope, one after the other. */
export async function take(
  bed: Bed,
  value: string,
  scope: Scope,
  between: { readonly held?: () => Promise<void>; readonly prepared?: () => Promise<void> } = {},
): Promise<Taken> {
  const signal = new AbortController().signal;
  await using quiescer = await makeQuiescer('postgres', value);
  await quiescer.prepare(scope, signal);
  await between.prepared?.();
  {
    using root = openDirectory(bed.path);
    call('syncfs', bed.path, root.fd);
  }
  await quiescer.hold(signal);
  const copies: Record<string, string> = {};
  try {
    const number = ++count;
    for (const { volume, directory } of scope.together)
      copies[volume] = bed.copy(directory ?? '', `taken${number}-${volume}`);
    await between.held?.();
  } finally {
    await quiescer.release(signal);
  }
  const directory = copies[scope.subject.volume];
  const state = await quiescer.finish(directory === undefined ? {} : { directory }, signal);
  return { state, copies };
}
