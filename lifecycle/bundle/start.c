/* What every in-container program's name leads to: the way to our own interpreter, wherever the bundle lies.
 *
 * The image may have no libc, no loader, no shell, and variables meant for its own programs. So this file needs no
 * library at all, takes the loader beside it, and hands the environment over in a form that neither loader nor
 * interpreter understands: each variable with ENVIRONMENT_MARK in front. lifecycle/entry.py takes the mark off, and
 * children get exactly what we got.
 *
 * The program is chosen by the name of the file that was executed, not by argv[0], which callers choose freely.
 * LIFECYCLE ("buildpack" or "docker") is set at compile time: both have a launcher and a builder.
 */

#define PATH_BYTES 4096
#define AT_EXECFN 31
#define AT_FDCWD (-100)
#define PROT_READ_WRITE 3
#define MAP_PRIVATE_ANONYMOUS 0x22
#define ENVIRONMENT_MARK ':'
#define EXIT_CANNOT_START 126

#if defined(__x86_64__)
enum { SYS_write = 1, SYS_mmap = 9, SYS_execve = 59, SYS_exit = 60, SYS_getcwd = 79, SYS_readlinkat = 267, SYS_faccessat = 269 };
__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall start\n");

static long call(long number, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}
#elif defined(__aarch64__)
enum { SYS_getcwd = 17, SYS_faccessat = 48, SYS_write = 64, SYS_readlinkat = 78, SYS_exit = 93, SYS_execve = 221, SYS_mmap = 222 };
__asm__(".globl _start\n_start:\n\tmov x29, #0\n\tmov x30, #0\n\tmov x0, sp\n\tand sp, x0, #-16\n\tbl start\n");

static long call(long number, long a, long b, long c, long d, long e, long f)
{
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
}
#else
#error "no system calls known for this machine"
#endif

static unsigned long length(const char *text)
{
    unsigned long n = 0;
    while (text[n])
        n++;
    return n;
}

static char *append(char *end, const char *text)
{
    while ((*end = *text++))
        end++;
    return end;
}

static char *last_slash(char *path)
{
    char *found = 0;
    for (; *path; path++)
        if (*path == '/')
            found = path;
    return found;
}

static void say(const char *text)
{
    call(SYS_write, 2, (long)text, length(text), 0, 0, 0);
}

static void fail(const char *argv0, const char *what)
{
    say(argv0);
    say(": cannot start: ");
    say(what);
    say("\n");
    call(SYS_exit, EXIT_CANNOT_START, 0, 0, 0, 0, 0);
    __builtin_unreachable();
}

/* The absolute path of this file; without /proc, the path the kernel was given, made absolute. */
static int find_self(char *self, const char *executed)
{
    long n = call(SYS_readlinkat, AT_FDCWD, (long)"/proc/self/exe", (long)self, PATH_BYTES - 1, 0, 0);
    if (n > 0) {
        self[n] = 0;
        return 1;
    }
    if (!executed || length(executed) >= PATH_BYTES / 2)
        return 0;
    if (executed[0] == '/') {
        append(self, executed);
        return 1;
    }
    n = call(SYS_getcwd, (long)self, PATH_BYTES / 2, 0, 0, 0, 0);
    if (n <= 1)
        return 0;
    append(append(self + n - 1, "/"), executed);
    return 1;
}

/* lib/ beside this file or, for the programs of the second lifecycle, one directory up. */
static int find_library(char *library, char *loader, char *self)
{
    char *slash;
    append(library, self);
    for (int level = 0; level < 2; level++) {
        slash = last_slash(library);
        if (!slash)
            return 0;
        append(slash, "/lib");
        append(append(loader, library), "/ld.so");
        if (call(SYS_faccessat, AT_FDCWD, (long)loader, 0, 0, 0, 0) == 0)
            return 1;
        *slash = 0;
    }
    return 0;
}

__attribute__((used)) void start(long *stack)
{
    static char self[PATH_BYTES], library[PATH_BYTES + 8], loader[PATH_BYTES + 16], python[PATH_BYTES + 16];
    long argc = stack[0];
    char **argv = (char **)(stack + 1);
    char **environment = argv + argc + 1;
    char *argv0 = argc ? argv[0] : "";
    unsigned long variables = 0, bytes = 0;
    for (; environment[variables]; variables++)
        bytes += length(environment[variables]) + 2;

    const char *executed = 0;
    for (long *entry = (long *)(environment + variables + 1); entry[0]; entry += 2)
        if (entry[0] == AT_EXECFN)
            executed = (const char *)entry[1];
    if (!find_self(self, executed))
        fail(argv0, "cannot find the path of this program: is /proc mounted?");
    if (!find_library(library, loader, self))
        fail(argv0, "lib/ld.so of its bundle is neither beside it nor one directory up");
    append(append(python, library), "/python3");

    char *fixed[] = {loader, "--inhibit-cache", "--library-path", library, python, "-I", "-S", "-X", "utf8", "-c",
                     "from lifecycle.entry import main; main()", LIFECYCLE, last_slash(self) + 1};
    unsigned long count = sizeof fixed / sizeof *fixed;
    unsigned long pointers = (count + argc + 1 + variables + 2) * sizeof(char *);
    char *memory = (char *)call(SYS_mmap, 0, pointers + bytes, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
    if ((unsigned long)memory > -4096UL)
        fail(argv0, "no memory");

    char **out = (char **)memory, **arguments = out;
    char *text = memory + pointers;
    for (unsigned long i = 0; i < count; i++)
        *out++ = fixed[i];
    for (long i = 0; i < argc; i++)
        *out++ = argv[i];
    *out++ = 0;
    char **marked = out;
    *out++ = "LC_ALL=C"; /* else the interpreter looks for a locale and writes LC_CTYPE into the environment */
    for (unsigned long i = 0; i < variables; i++) {
        *out++ = text;
        *text++ = ENVIRONMENT_MARK;
        text = append(text, environment[i]) + 1;
    }
    *out = 0;
    call(SYS_execve, (long)loader, (long)arguments, (long)marked, 0, 0, 0);
    fail(argv0, "its loader could not be executed");
}
