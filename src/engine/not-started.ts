import { CoppiceError } from '../model/errors.ts';
import type { RolledBack } from './operations/rollback.ts';

/** A rollback that is done and durable, after which what runs on the volume could not be started again. */
export class NotStarted extends CoppiceError {
  readonly rolledBack: RolledBack;

  constructor(rolledBack: RolledBack, why: string) {
    const { volume, snapshot, undo } = rolledBack;
    const wayBack = undo === undefined ? '' : ` To undo the rollback: coppice rollback ${undo} --stop.`;
    super(
      'io_error',
      `${volume} was rolled back to ${snapshot}, and what runs on it could not be started: ${why.replace(/(?<![.?!])$/, '.')}${wayBack}`,
    );
    this.rolledBack = rolledBack;
  }
}
