/*
 * The limit: clones a template with the system calls that the library makes for a deferred clone, in the same order and with the
 * same arguments, and does nothing else. `deferred-clones.ts` compares the traces of the two before it measures.
 *
 * limit DRIVER POOL HOST SOURCE SOURCE_ID THREADS reads lines "PREFIX COUNT", makes PREFIX-0 to PREFIX-(COUNT-1) for each, and prints how
 * many seconds that took.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static int on_btrfs;
static const char *pool, *host, *source, *source_id;
static char prefix[64];

/* Seconds for which the template stays open and locked, and then for one more clone. */
static const double longest_turn = 0.002;

static int count;
static atomic_int next;

static long check(long result, const char *what)
{
	if (result >= 0)
		return result;
	perror(what);
	exit(1);
}

static int open_beneath(int directory, const char *path, uint64_t flags, uint64_t mode)
{
	struct open_how how = {
		.flags = flags | O_CLOEXEC,
		.mode = mode,
		.resolve = RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH,
	};
	return check(syscall(SYS_openat2, directory, path, &how, sizeof how), path);
}

static int status(int directory, const char *path, struct statx *result)
{
	return statx(directory, path, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_ALL, result);
}

/* Opens and locks an entry. */
static int hold(int parent, const char *name, int operation, struct statx *held)
{
	int entry = open_beneath(parent, name, O_RDONLY | O_DIRECTORY, 0);
	check(flock(entry, operation | LOCK_NB), "flock");
	check(status(entry, "", held), name);
	return entry;
}

/* The template as the clones of a turn share it. */
struct template {
	int entry, disk;
	double opened;
};

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void open_template(struct template *template, int volumes, int host_directory)
{
	struct statx held, named;
	struct statfs space;
	char metadata[8000];
	template->opened = now();
	check(fstatfs(host_directory, &space), "fstatfs");
	template->entry = hold(volumes, source, LOCK_SH, &held);
	check(status(volumes, source, &named), source);
	if (named.stx_ino != held.stx_ino)
		exit(1);
	check(fgetxattr(template->entry, "user.coppice", metadata, sizeof metadata), "fgetxattr");
	template->disk = open_beneath(template->entry, "data/disk.raw", O_RDONLY | O_NONBLOCK, 0);
	check(status(template->disk, "", &held), "data/disk.raw");
	if (!on_btrfs) {
		char path[64];
		snprintf(path, sizeof path, "/proc/self/fd/%d/data", template->entry);
		check(lgetxattr(path, "user.coppice.volume", metadata, sizeof metadata), "lgetxattr");
	}
}

static void close_template(struct template *template)
{
	close(template->disk);
	close(template->entry);
}

/* From the kernel's random numbers, fetched for 64 ids at once. */
static void make_id(char id[37])
{
	static __thread unsigned char pool[1024];
	static __thread size_t used = sizeof pool;
	uint64_t high, low;
	if (used == sizeof pool)
		check(getrandom(pool, sizeof pool, 0), "getrandom"), used = 0;
	memcpy(&high, pool + used, 8);
	memcpy(&low, pool + used + 8, 8);
	used += 16;
	snprintf(id, 37, "%08x-%04x-4%03x-8%03x-%012llx", (unsigned)(high >> 32), (unsigned)(high >> 16) & 0xffff,
		(unsigned)high & 0xfff, (unsigned)(low >> 52), (unsigned long long)low & 0xffffffffffff);
}

static void clone_one(int volumes, int staging, int original, int number)
{
	char name[80], path[64], entry_name[37], id[37], metadata[8000];
	struct statx held;
	snprintf(name, sizeof name, "%s-%d", prefix, number);
	make_id(entry_name);
	make_id(id);

	check(mkdirat(staging, entry_name, 0711), "mkdirat");
	int entry = hold(staging, entry_name, LOCK_EX, &held);
	if (held.stx_nlink == 0)
		exit(1);
	if (on_btrfs) {
		struct btrfs_ioctl_vol_args_v2 subvolume = { .name = "data" };
		check(ioctl(entry, BTRFS_IOC_SUBVOL_CREATE_V2, &subvolume), "SUBVOL_CREATE");
	} else
		check(mkdirat(entry, "data", 0755), "mkdirat");
	snprintf(path, sizeof path, "/proc/self/fd/%d/data", entry);
	check(lsetxattr(path, "user.coppice.volume", id, strlen(id), 0), "lsetxattr");
	int disk = open_beneath(entry, "data/disk.raw", O_RDWR | O_CREAT | O_EXCL, 0600);
	check(ioctl(disk, FICLONE, original), "FICLONE");
	close(disk);

	int length = snprintf(metadata, sizeof metadata,
		"{\"type\":\"volume\",\"id\":\"%s\",\"kind\":\"block\",\"created\":\"2026-01-01T00:00:00.000Z\","
		"\"origin\":[{\"id\":\"%s\",\"name\":\"%s\"}],\"method\":\"reflink\"}", id, source_id, source);
	check(fsetxattr(entry, "user.coppice", metadata, length, 0), "fsetxattr");
	check(renameat2(staging, entry_name, volumes, name, RENAME_NOREPLACE), name);
	close(entry);
}

static void *work(void *unused)
{
	int root = check(open(pool, O_RDONLY | O_DIRECTORY | O_CLOEXEC), pool);
	int volumes = open_beneath(root, "volumes", O_RDONLY | O_DIRECTORY, 0);
	int staging = open_beneath(root, ".staging", O_RDONLY | O_DIRECTORY, 0);
	int host_directory = check(open(host, O_RDONLY | O_CLOEXEC), host);
	struct template template;
	open_template(&template, volumes, host_directory);
	for (int number = next++; number < count; number = next++) {
		/* As the library does, so that others get the lock. */
		if (now() - template.opened >= longest_turn) {
			close_template(&template);
			open_template(&template, volumes, host_directory);
		}
		clone_one(volumes, staging, template.disk, number);
	}
	close_template(&template);
	close(host_directory), close(staging), close(volumes), close(root);
	return unused;
}

static double clone_all(int threads)
{
	pthread_t thread[64];
	next = 0;
	double begin = now();
	for (int i = 0; i < threads && i < 64; i++)
		check(-pthread_create(&thread[i], NULL, work, NULL), "pthread_create");
	for (int i = 0; i < threads && i < 64; i++)
		pthread_join(thread[i], NULL);
	return now() - begin;
}

int main(int argc, char **argv)
{
	if (argc != 7)
		return 2;
	on_btrfs = strcmp(argv[1], "btrfs") == 0;
	pool = argv[2], host = argv[3], source = argv[4], source_id = argv[5];
	int threads = atoi(argv[6]);
	while (scanf("%63s %d", prefix, &count) == 2) {
		printf("%.9f\n", clone_all(threads));
		fflush(stdout);
	}
	return 0;
}
