//! Which fields the kernel programs read, and the globals that carry their offsets.
use super::btf::{Btf, BtfError};

/// The field that says whether a call is one of a 32-bit program (`ebpf/src/arch/mod.rs`).
const COMPAT: &str = if cfg!(target_arch = "aarch64") {
    "flags"
} else {
    "status"
};

/// The register by which a thread finds its own storage.
const THREAD_POINTER: &[&str] = if cfg!(target_arch = "aarch64") {
    &["thread", "uw", "tp_value"]
} else {
    &["thread", "fsbase"]
};

/// A global, the structure and the chain of members.
const FIELDS: &[(&str, &str, &[&str])] = &[
    ("OFF_TASK_FLAGS", "task_struct", &["flags"]),
    ("OFF_TASK_STATUS", "task_struct", &["thread_info", COMPAT]),
    ("OFF_TASK_FILES", "task_struct", &["files"]),
    ("OFF_TASK_SIGNAL", "task_struct", &["signal"]),
    ("OFF_TASK_EXIT_CODE", "task_struct", &["exit_code"]),
    ("OFF_TASK_MM", "task_struct", &["mm"]),
    ("OFF_TASK_TGID", "task_struct", &["tgid"]),
    ("OFF_TASK_PID", "task_struct", &["pid"]),
    ("OFF_TASK_SUM_EXEC", "task_struct", &["se", "sum_exec_runtime"]),
    ("OFF_TASK_RUN_DELAY", "task_struct", &["sched_info", "run_delay"]),
    ("OFF_TASK_IO_URING", "task_struct", &["io_uring"]),
    ("OFF_TASK_FSBASE", "task_struct", THREAD_POINTER),
    ("OFF_SIGNAL_LIVE", "signal_struct", &["live"]),
    ("OFF_SIGNAL_OOM_MM", "signal_struct", &["oom_mm"]),
    ("OFF_MM_ARG_START", "mm_struct", &["arg_start"]),
    ("OFF_MM_ARG_END", "mm_struct", &["arg_end"]),
    ("OFF_FILES_FDT", "files_struct", &["fdt"]),
    ("OFF_FDT_FD", "fdtable", &["fd"]),
    ("OFF_FDT_MAX", "fdtable", &["max_fds"]),
    ("OFF_FILE_PRIVATE", "file", &["private_data"]),
    ("OFF_FILE_INODE", "file", &["f_inode"]),
    ("OFF_FILE_FLAGS", "file", &["f_flags"]),
    ("OFF_FILE_DENTRY", "file", &["f_path", "dentry"]),
    ("OFF_DENTRY_NAME", "dentry", &["d_name", "name"]),
    ("OFF_DENTRY_LENGTH", "dentry", &["d_name", "len"]),
    ("OFF_INODE_RDEV", "inode", &["i_rdev"]),
    ("OFF_INODE_INO", "inode", &["i_ino"]),
    ("OFF_INODE_MODE", "inode", &["i_mode"]),
    ("OFF_SOCKET_SK", "socket", &["sk"]),
    ("OFF_SOCKET_FILE", "socket", &["file"]),
    ("OFF_SK_FAMILY", "sock", &["__sk_common", "skc_family"]),
    ("OFF_SK_STATE", "sock", &["__sk_common", "skc_state"]),
    ("OFF_SK_COOKIE", "sock", &["__sk_common", "skc_cookie"]),
    ("OFF_SK_NUM", "sock", &["__sk_common", "skc_num"]),
    ("OFF_SK_DPORT", "sock", &["__sk_common", "skc_dport"]),
    ("OFF_SK_DADDR", "sock", &["__sk_common", "skc_daddr"]),
    ("OFF_SK_RCV_SADDR", "sock", &["__sk_common", "skc_rcv_saddr"]),
    ("OFF_SK_V6_DADDR", "sock", &["__sk_common", "skc_v6_daddr"]),
    ("OFF_SK_V6_RCV_SADDR", "sock", &["__sk_common", "skc_v6_rcv_saddr"]),
    ("OFF_SK_NET", "sock", &["__sk_common", "skc_net", "net"]),
    ("OFF_SK_TYPE", "sock", &["sk_type"]),
    ("OFF_SK_PROTOCOL", "sock", &["sk_protocol"]),
    ("OFF_SK_ERR", "sock", &["sk_err"]),
    ("OFF_SK_FLAGS", "sock", &["__sk_common", "skc_flags"]),
    ("OFF_SK_SHUTDOWN", "sock", &["sk_shutdown"]),
    ("OFF_SK_SOCKET", "sock", &["sk_socket"]),
    ("OFF_NET_INUM", "net", &["ns", "inum"]),
    ("OFF_UNIX_PEER", "unix_sock", &["peer"]),
    ("OFF_UNIX_ADDR", "unix_sock", &["addr"]),
    // A TCP socket begins with one of these.
    ("OFF_TCP_UPPER", "inet_connection_sock", &["icsk_ulp_ops"]),
    ("OFF_TCP_BYTES_ACKED", "tcp_sock", &["bytes_acked"]),
    ("OFF_TCP_BYTES_RECEIVED", "tcp_sock", &["bytes_received"]),
    ("OFF_TCP_BYTES_SENT", "tcp_sock", &["bytes_sent"]),
    ("OFF_TCP_BYTES_RETRANS", "tcp_sock", &["bytes_retrans"]),
    ("OFF_TCP_SND_UNA", "tcp_sock", &["snd_una"]),
    ("OFF_TCP_SND_NXT", "tcp_sock", &["snd_nxt"]),
    ("OFF_TCP_WRITE_SEQ", "tcp_sock", &["write_seq"]),
    ("OFF_TCP_RCV_NXT", "tcp_sock", &["rcv_nxt"]),
    ("OFF_TCP_COPIED_SEQ", "tcp_sock", &["copied_seq"]),
    ("OFF_TCP_SRTT", "tcp_sock", &["srtt_us"]),
    ("OFF_TCP_TOTAL_RETRANS", "tcp_sock", &["total_retrans"]),
    ("OFF_TCP_CLOCK", "tcp_sock", &["tcp_clock_cache"]),
    ("OFF_TCP_SPACE_TIME", "tcp_sock", &["rcvq_space", "time"]),
    ("OFF_EPOLL_ITEMS", "eventpoll", &["rbr", "rb_root", "rb_node"]),
    ("OFF_EPOLL_ITEM_FD", "epitem", &["ffd", "fd"]),
];

/// The offset of each global in this kernel.
///
/// # Errors
/// [`BtfError::NoField`] for the first field this kernel does not have.
pub(super) fn resolve(btf: &Btf) -> Result<Vec<(&'static str, u32)>, BtfError> {
    let mut offsets = FIELDS
        .iter()
        .map(|(global, structure, path)| Ok((*global, btf.offset(structure, path)?)))
        .collect::<Result<Vec<_>, _>>()?;
    // Another name and size since 5.14; its first word has always had what is looked at.
    let state = btf.offset("task_struct", &["__state"]);
    offsets.push((
        "OFF_TASK_STATE",
        state.or_else(|_| btf.offset("task_struct", &["state"]))?,
    ));
    Ok(offsets)
}
