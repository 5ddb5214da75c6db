import { bundle } from './bundle.ts';

/** The directory with the programs that actors are: each counts its system calls and has a clock of its own. */
export function actorPrograms(): string {
  return bundle('actors', {
    actor: 'test/support/actor-process.ts',
    worker: 'test/support/actor-worker.ts',
    command: 'test/support/actor-command.ts',
  });
}
