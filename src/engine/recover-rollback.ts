import type { Held } from '../drivers/driver.ts';
import { CoppiceError } from '../model/errors.ts';
import type { RollbackIntent } from '../model/metadata.ts';
import type { Context } from './context.ts';
import { completeExchange, findById, isReplaced, isTouched, keepAttempt } from './exchange.ts';
import { recoverTogether } from './exchange-together.ts';
import { busy } from './failures.ts';
import type { HeldVolume } from './holding.ts';

/** Finishes or drops a rollback that was interrupted. Returns whether the staged entry is settled. */
export function recoverRollback(context: Context, staged: Held, intent: RollbackIntent): boolean {
  if (intent.together) return recoverTogether(context, staged, intent);
  // It had not come to the exchange, or that was taken back and nobody has written to what was in the volume's place meanwhile.
  if (!isReplaced(context, staged, intent) && !isTouched(context, staged, intent)) {
    context.driver.discard(staged);
    return true;
  }
  using volume = findById(context, intent);
  if (!volume) return false;
  return isSettled(context, volume, staged, intent);
}

/**
 * Finishes for processes that have died what they were rolling back of a volume that is held. Whoever removes it or a snapshot of
 * it does this first: afterwards there would be nothing left to keep the replaced state with, or it would be kept once more.
 * @throws CoppiceError busy
 */
export function finishRollbacksOf(context: Context, volume: HeldVolume): void {
  for (const id of context.driver.listEntries('staging')) {
    const place = { area: 'staging', id } as const;
    const intent = context.driver.peek(place);
    if (intent?.type !== 'rollback' || intent.volumeId !== volume.metadata.id) continue;
    // Its maker is dead, or would hold the volume. Who opens the pool may be looking at it, and does not wait for us.
    const held = context.driver.hold(place, 'exclusive', context.wait);
    if (held === 'busy') throw busy(volume.name);
    if (held === 'absent') continue;
    using staged = held;
    if (intent.together) {
      if (!recoverTogether(context, staged, intent, volume)) throw busy(volume.name);
    } else if (isReplaced(context, staged, intent) || isTouched(context, staged, intent))
      isSettled(context, volume, staged, intent);
  }
}

/** Returns whether the staged entry is gone. */
function isSettled(context: Context, volume: HeldVolume, staged: Held, intent: RollbackIntent): boolean {
  if (!isReplaced(context, staged, intent)) keepAttempt(context, volume.held, staged, intent);
  else {
    try {
      completeExchange(context, volume, staged, intent);
    } catch (error) {
      // Whoever has what was replaced open has it still, in its place.
      if (!(error instanceof CoppiceError && error.code === 'blocked')) throw error;
    }
  }
  return !context.driver.exists(staged.place);
}
