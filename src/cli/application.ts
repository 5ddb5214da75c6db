import { type Application, buildApplication, buildRouteMap, text_en } from '@stricli/core';
import { CoppiceError } from '../model/errors.ts';
import { version } from '../model/version.ts';
import { adoptCommand } from './commands/adopt.ts';
import { branchCommand } from './commands/branch.ts';
import { cloneCommand } from './commands/clone.ts';
import { completionCommand } from './commands/completion.ts';
import { createCommand } from './commands/create.ts';
import { diffCommand } from './commands/diff.ts';
import { doctorCommand } from './commands/doctor.ts';
import { exportCommand } from './commands/export.ts';
import { getCommand } from './commands/get.ts';
import { growCommand } from './commands/grow.ts';
import { guardCommand } from './commands/guard.ts';
import { holdCommand } from './commands/hold.ts';
import { importCommand } from './commands/import.ts';
import { listCommand } from './commands/list.ts';
import { mountCommand } from './commands/mount.ts';
import { pathCommand } from './commands/path.ts';
import { policyApplyCommand } from './commands/policy/apply.ts';
import { policyInstallCommand } from './commands/policy/install.ts';
import { policyShowCommand } from './commands/policy/show.ts';
import { policyVerifyCommand } from './commands/policy/verify.ts';
import { poolCheckCommand } from './commands/pool/check.ts';
import { poolCreateCommand } from './commands/pool/create.ts';
import { poolDestroyCommand } from './commands/pool/destroy.ts';
import { poolGrowCommand } from './commands/pool/grow.ts';
import { poolPersistCommand } from './commands/pool/persist.ts';
import { poolShowCommand } from './commands/pool/show.ts';
import { releaseCommand } from './commands/release.ts';
import { removeCommand } from './commands/remove.ts';
import { renameCommand } from './commands/rename.ts';
import { rollbackCommand } from './commands/rollback.ts';
import { sealCommand } from './commands/seal.ts';
import { serveCommand } from './commands/serve.ts';
import { setCommand } from './commands/set.ts';
import { showCommand } from './commands/show.ts';
import { snapshotCommand } from './commands/snapshot.ts';
import { tokenCreateCommand } from './commands/token/create.ts';
import { tokenListCommand } from './commands/token/list.ts';
import { tokenRevokeCommand } from './commands/token/revoke.ts';
import { treeCommand } from './commands/tree.ts';
import { unmountCommand } from './commands/unmount.ts';
import { usageCommand } from './commands/usage.ts';
import { verifyCommand } from './commands/verify.ts';
import { versionCommand } from './commands/version.ts';
import type { CliContext } from './context.ts';
import { Shown, showFailure } from './failure.ts';

const pool = buildRouteMap({
  docs: { brief: 'Make, grow, check and destroy pools' },
  routes: {
    create: poolCreateCommand,
    show: poolShowCommand,
    grow: poolGrowCommand,
    persist: poolPersistCommand,
    check: poolCheckCommand,
    destroy: poolDestroyCommand,
  },
});

const policy = buildRouteMap({
  docs: { brief: 'Take snapshots by schedule, and keep as many as are wanted' },
  routes: {
    show: policyShowCommand,
    apply: policyApplyCommand,
    verify: policyVerifyCommand,
    install: policyInstallCommand,
  },
});

const token = buildRouteMap({
  docs: { brief: 'Say who may use the server over the network' },
  routes: { create: tokenCreateCommand, list: tokenListCommand, revoke: tokenRevokeCommand },
});

const root = buildRouteMap({
  docs: {
    brief: 'Copy-on-write storage for virtual machines',
    fullDescription: `Copy-on-write storage for virtual machines: clone a disk in milliseconds, snapshot it, roll it back, undo that.

FIRST STEPS
  coppice pool create                     make a pool in /var/lib/coppice
  coppice import debian-12 image.qcow2    make a template from a disk image
  coppice clone debian-12 vm --count 10   make ten disks from it
  coppice path vm-1                       the file that a VMM opens
  coppice COMMAND --help                  each command, with examples`,
  },
  routes: {
    pool,
    import: importCommand,
    adopt: adoptCommand,
    create: createCommand,
    clone: cloneCommand,
    set: setCommand,
    get: getCommand,
    snapshot: snapshotCommand,
    rollback: rollbackCommand,
    guard: guardCommand,
    branch: branchCommand,
    verify: verifyCommand,
    hold: holdCommand,
    release: releaseCommand,
    policy,
    list: listCommand,
    show: showCommand,
    tree: treeCommand,
    diff: diffCommand,
    usage: usageCommand,
    path: pathCommand,
    mount: mountCommand,
    unmount: unmountCommand,
    grow: growCommand,
    rename: renameCommand,
    seal: sealCommand,
    remove: removeCommand,
    export: exportCommand,
    serve: serveCommand,
    token,
    doctor: doctorCommand,
    completion: completionCommand,
    version: versionCommand,
  },
  aliases: { ls: 'list', rm: 'remove' },
});

/** @param json whether a mistake in the command line itself is told as JSON too */
export function makeApplication(json: boolean): Application<CliContext> {
  const shown = (error: unknown): string => (error instanceof Error ? error.message : String(error));
  const misused = (message: string): string =>
    showFailure(new CoppiceError('invalid_argument', message.replace(/[^.?]$/, '$&.')), json).message;
  return buildApplication(root, {
    name: 'coppice',
    versionInfo: { currentVersion: version },
    scanner: { caseStyle: 'allow-kebab-for-camel', allowArgumentEscapeSequence: true },
    documentation: { caseStyle: 'convert-camel-to-kebab' },
    localization: {
      text: {
        ...text_en,
        commandErrorResult: shown,
        exceptionWhileRunningCommand: shown,
        exceptionWhileParsingArguments: (error, ansiColor) =>
          misused(withHelp(text_en.exceptionWhileParsingArguments(error, ansiColor))),
        noCommandRegisteredForInput: (about) => misused(text_en.noCommandRegisteredForInput(about)),
      },
    },
    determineExitCode: (error) => (error instanceof Shown ? error.exitCode : 1),
  });
}

/** What is missing or too much gets a way out; other mistakes name their own. */
function withHelp(message: string): string {
  return /^(Expected|Too many)/.test(message)
    ? `${message.replace(/\.$/, '')}; --help says what the command takes.`
    : message;
}
