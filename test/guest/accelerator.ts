import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { GuestImage } from './image.ts';

const kvm = ['-accel', 'kvm', '-cpu', 'host'];
/** What newer processors have in addition is what programs then use, and what takes longest to emulate. */
const emulation = ['-accel', 'tcg,thread=multi', '-cpu', 'Nehalem'];

/**
 * How QEMU runs a guest here: by KVM where that works. Where it is offered and does not work, as inside of some virtual machines, a
 * guest hangs before its first word; so it is tried, once for each boot of the host.
 */
export function accelerator(image: GuestImage): readonly string[] {
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
  } catch {
    return emulation;
  }
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  const verdict = join(dirname(image.root), `kvm-${boot}`);
  if (!existsSync(verdict)) writeFileSync(verdict, speaks(image) ? 'works' : 'does not work');
  return readFileSync(verdict, 'utf8') === 'works' ? kvm : emulation;
}

/** The kernel alone says something, and ends when it finds no root. */
function speaks({ kernel }: GuestImage): boolean {
  const { stdout } = spawnSync(
    'qemu-system-x86_64',
    [
      ...['-machine', 'q35', ...kvm, '-m', '512', '-display', 'none', '-nodefaults', '-no-reboot'],
      ...['-serial', 'stdio', '-kernel', kernel, '-append', 'console=ttyS0 panic=-1'],
    ],
    { timeout: 10_000, killSignal: 'SIGKILL', stdio: ['ignore', 'pipe', 'ignore'], encoding: 'utf8' },
  );
  return stdout.includes('Linux version');
}
