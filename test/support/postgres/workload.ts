import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { commandAs, runAs } from '../../../src/consistency/postgres/programs.ts';
import type { Cluster } from './cluster.ts';
import { pgbench } from './programs.ts';

/** Other processes that commit all the time: pgbench with four clients, and one that notes what was acknowledged. */
export interface Workload extends AsyncDisposable {
  /** The numbers that were acknowledged until now. */
  acknowledged(): number[];
  /** Resolves when so many more have been. */
  goOn(count?: number): Promise<void>;
  stop(): Promise<void>;
}

export async function startWorkload(cluster: Cluster, scale = 2): Promise<Workload> {
  const port = String((await cluster.query('SHOW port'))[0]?.['port']);
  const isFar = cluster.far !== undefined;
  await cluster.query('CREATE TABLE near (n bigint PRIMARY KEY)', 'worker');
  await cluster.query(`CREATE TABLE far (n bigint PRIMARY KEY) ${isFar ? 'TABLESPACE far' : ''}`, 'worker');
  const connection = ['-h', cluster.socketDirectory, '-p', port, '-U', 'worker'];
  const initialize = ['-i', '-q', '-s', String(scale), ...(isFar ? ['--tablespace=far'] : [])];
  const { code, errors } = await runAs(cluster.owner, pgbench(), [...initialize, ...connection, 'postgres']);
  if (code !== 0) throw new Error(`pgbench: ${errors}`);
  // Without the vacuum that needs more rights, until it is ended.
  const [command, args] = commandAs(cluster.owner, pgbench(), [
    ...['-n', '-c', '4', '-T', '86400'],
    ...connection,
    'postgres',
  ]);
  const bench = spawn(command, args, { stdio: 'ignore', cwd: '/' });
  const file = join(cluster.socketDirectory, '..', `acknowledged-${port}`);
  writeFileSync(file, '');
  const script = join(import.meta.dirname, 'workload-process.ts');
  const writer = spawn(process.execPath, [script, cluster.socketDirectory, port, file, isFar ? '1' : '0'], {
    stdio: ['pipe', 'inherit', 'inherit'],
  });
  const workload: Workload = {
    acknowledged: () => readFileSync(file, 'utf8').split('\n').slice(0, -1).map(Number),
    async goOn(count = 200) {
      const goal = statSync(file).size + count * 4;
      while (statSync(file).size < goal) {
        if (writer.exitCode !== null || bench.exitCode !== null)
          throw new Error(`the workload has ended: ${cluster.log().slice(-2000)}`);
        await sleep(10);
      }
    },
    async stop() {
      writer.stdin?.end();
      bench.kill('SIGKILL');
      await Promise.all([ended(writer), ended(bench)]);
    },
    [Symbol.asyncDispose]: () => workload.stop(),
  };
  await workload.goOn();
  return workload;
}

function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => child.once('exit', () => resolve()));
}
