//! Read-only globals the agent fills in before loading. The verifier sees them as constants.

macro_rules! globals {
    ($($(#[doc = $doc:literal])* $name:ident $function:ident: $type:ty = $default:literal;)+) => {
        $(
            #[unsafe(no_mangle)]
            static $name: $type = $default;
            $(#[doc = $doc])*
            #[inline(always)]
            pub fn $function() -> $type {
                // SAFETY: the global lives as long as the program; volatile keeps LLVM from using the default.
                unsafe { core::ptr::read_volatile(&raw const $name) }
            }
        )+
    };
}

globals! {
    /// First part of a message's budget, bytes.
    HEAD_BYTES head_bytes: u32 = 4096;
    /// Second part, bytes.
    BODY_BYTES body_bytes: u32 = 0;
    /// `WATCH_` bits.
    WATCH watch: u32 = 0;
    /// The ring buffer wakes its reader when it fills past this many bytes.
    WAKE_BYTES wake_bytes: u64 = 1_048_576;
    /// 1 where the kernel has `bpf_get_current_task_btf`, since 5.11, and `bpf_task_pt_regs`, since 5.15.
    TYPED_TASK typed_task: u32 = 1;
    /// 1 where it is told where in their programs threads ask others.
    TELL_STACKS stacks: u32 = 0;
    /// 1 where it is told where threads' time goes.
    TIMES times: u32 = 0;
    /// 1 where a connection is its socket's inode number, not the cookie.
    BY_INODE by_inode: u32 = 0;

    OFF_TASK_FLAGS task_flags: u32 = 0;
    OFF_TASK_STATUS task_status: u32 = 0;
    OFF_TASK_STATE task_state: u32 = 0;
    OFF_TASK_FILES task_files: u32 = 0;
    OFF_TASK_SIGNAL task_signal: u32 = 0;
    OFF_TASK_EXIT_CODE task_exit_code: u32 = 0;
    OFF_TASK_MM task_mm: u32 = 0;
    OFF_TASK_TGID task_tgid: u32 = 0;
    OFF_TASK_PID task_pid: u32 = 0;
    OFF_TASK_SUM_EXEC task_sum_exec: u32 = 0;
    OFF_TASK_RUN_DELAY task_run_delay: u32 = 0;
    OFF_TASK_IO_URING task_io_uring: u32 = 0;
    OFF_TASK_FSBASE task_fsbase: u32 = 0;
    OFF_SIGNAL_LIVE signal_live: u32 = 0;
    OFF_SIGNAL_OOM_MM signal_oom_mm: u32 = 0;
    OFF_MM_ARG_START mm_arg_start: u32 = 0;
    OFF_MM_ARG_END mm_arg_end: u32 = 0;
    OFF_FILES_FDT files_fdt: u32 = 0;
    OFF_FDT_FD fdt_fd: u32 = 0;
    OFF_FDT_MAX fdt_max: u32 = 0;
    OFF_FILE_PRIVATE file_private: u32 = 0;
    OFF_FILE_INODE file_inode: u32 = 0;
    OFF_FILE_FLAGS file_flags: u32 = 0;
    OFF_FILE_DENTRY file_dentry: u32 = 0;
    OFF_DENTRY_NAME dentry_name: u32 = 0;
    OFF_DENTRY_LENGTH dentry_length: u32 = 0;
    OFF_INODE_RDEV inode_rdev: u32 = 0;
    OFF_INODE_INO inode_ino: u32 = 0;
    OFF_INODE_MODE inode_mode: u32 = 0;
    OFF_SOCKET_SK socket_sk: u32 = 0;
    OFF_SOCKET_FILE socket_file: u32 = 0;
    OFF_SK_FAMILY sk_family: u32 = 0;
    OFF_SK_STATE sk_state: u32 = 0;
    OFF_SK_COOKIE sk_cookie: u32 = 0;
    OFF_SK_NUM sk_num: u32 = 0;
    OFF_SK_DPORT sk_dport: u32 = 0;
    OFF_SK_DADDR sk_daddr: u32 = 0;
    OFF_SK_RCV_SADDR sk_rcv_saddr: u32 = 0;
    OFF_SK_V6_DADDR sk_v6_daddr: u32 = 0;
    OFF_SK_V6_RCV_SADDR sk_v6_rcv_saddr: u32 = 0;
    OFF_SK_NET sk_net: u32 = 0;
    OFF_SK_TYPE sk_type: u32 = 0;
    OFF_SK_PROTOCOL sk_protocol: u32 = 0;
    OFF_SK_ERR sk_err: u32 = 0;
    OFF_SK_FLAGS sk_flags: u32 = 0;
    OFF_SK_SHUTDOWN sk_shutdown: u32 = 0;
    OFF_SK_SOCKET sk_socket: u32 = 0;
    OFF_NET_INUM net_inum: u32 = 0;
    OFF_UNIX_PEER unix_peer: u32 = 0;
    OFF_UNIX_ADDR unix_addr: u32 = 0;
    OFF_TCP_UPPER tcp_upper: u32 = 0;
    OFF_TCP_BYTES_ACKED tcp_bytes_acked: u32 = 0;
    OFF_TCP_BYTES_RECEIVED tcp_bytes_received: u32 = 0;
    OFF_TCP_BYTES_SENT tcp_bytes_sent: u32 = 0;
    OFF_TCP_BYTES_RETRANS tcp_bytes_retrans: u32 = 0;
    OFF_TCP_SND_UNA tcp_snd_una: u32 = 0;
    OFF_TCP_SND_NXT tcp_snd_nxt: u32 = 0;
    OFF_TCP_WRITE_SEQ tcp_write_seq: u32 = 0;
    OFF_TCP_RCV_NXT tcp_rcv_nxt: u32 = 0;
    OFF_TCP_COPIED_SEQ tcp_copied_seq: u32 = 0;
    OFF_TCP_SRTT tcp_srtt: u32 = 0;
    OFF_TCP_TOTAL_RETRANS tcp_total_retrans: u32 = 0;
    OFF_TCP_CLOCK tcp_clock: u32 = 0;
    OFF_TCP_SPACE_TIME tcp_space_time: u32 = 0;
    OFF_EPOLL_ITEMS epoll_items: u32 = 0;
    OFF_EPOLL_ITEM_FD epoll_item_fd: u32 = 0;
}
