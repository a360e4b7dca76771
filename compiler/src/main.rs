//! The `qcc` command; see [`qcc::cli`].

fn main() -> std::process::ExitCode {
    qcc::cli::main()
}
