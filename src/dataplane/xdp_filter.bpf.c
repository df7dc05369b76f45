// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
// The XDP filter of a shared interface: hands the relay's packets to its AF_XDP sockets and leaves everything else, and
// whatever it doesn't understand, to the kernel. It never changes a packet. Up to two VLAN tags are looked behind.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAX_RELAYED 256

struct address {
  __u8 bytes[16];  // IPv4 in the first four
  __u32 family;    // 4 or 6
};

struct listener {
  struct address address;
  __u32 port;  // host order
};

// What the fragments of one datagram have in common.
struct fragment {
  struct address source;
  struct address destination;
  __u32 id;
};

struct {
  __uint(type, BPF_MAP_TYPE_XSKMAP);
  __uint(max_entries, 64);
  __type(key, __u32);
  __type(value, __u32);
} xsks_map SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 256);
  __type(key, struct listener);
  __type(value, __u8);
} tpk_listeners SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, MAX_RELAYED);
  __type(key, struct address);
  __type(value, __u32);  // index
} tpk_relayed SEC(".maps");

// One bit for each port of each relayed address; the relay writes it by mmap, without a system call.
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, MAX_RELAYED * 1024);
  __type(key, __u32);
  __type(value, __u64);
} tpk_live_ports SEC(".maps");

// Listening and relayed addresses.
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 512);
  __type(key, struct address);
  __type(value, __u8);
} tpk_addresses SEC(".maps");

// Datagrams to these whose first fragment has been seen, and whether it was the relay's.
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 4096);
  __type(key, struct fragment);
  __type(value, __u8);
} tpk_fragments SEC(".maps");

// The start of ICMP and ICMPv6 messages; an error quotes its packet behind it.
struct icmp_header {
  __u8 type;
  __u8 code;
  __be16 checksum;
  __be32 rest;
};

static __always_inline int is_ours(const struct address *address, __u16 port) {
  struct listener listener = {};
  listener.address = *address;
  listener.port = port;
  if (bpf_map_lookup_elem(&tpk_listeners, &listener)) return 1;
  __u32 *index = bpf_map_lookup_elem(&tpk_relayed, address);
  if (!index) return 0;
  __u32 word = *index * 1024 + port / 64;
  __u64 *bits = bpf_map_lookup_elem(&tpk_live_ports, &word);
  return bits && (*bits >> (port % 64) & 1);
}

static __always_inline void set_v4(struct address *address, __u32 raw) {
  __builtin_memset(address, 0, sizeof *address);
  __builtin_memcpy(address->bytes, &raw, 4);
  address->family = 4;
}

static __always_inline void set_v6(struct address *address, const struct in6_addr *raw) {
  __builtin_memcpy(address->bytes, raw, 16);
  address->family = 6;
}

static __always_inline int take(struct xdp_md *ctx) {
  return bpf_redirect_map(&xsks_map, ctx->rx_queue_index, XDP_PASS);
}

static __always_inline int udp_ours(void *at, void *end, const struct address *to, int source_port) {
  struct udphdr *udp = at;
  if ((void *)(udp + 1) > end) return 0;
  return is_ours(to, bpf_ntohs(source_port ? udp->source : udp->dest));
}

// Only the first fragment says whose datagram it is. What comes before it is taken: order is nothing (RFC 791), and
// the relay can wait. What follows one of the kernel's is the kernel's.
static __always_inline int filter_fragment(struct xdp_md *ctx, const struct fragment *key, int first, void *l4,
                                           void *end) {
  if (!bpf_map_lookup_elem(&tpk_addresses, &key->destination)) return XDP_PASS;
  if (first) {
    const __u8 ours = udp_ours(l4, end, &key->destination, 0);
    bpf_map_update_elem(&tpk_fragments, key, &ours, BPF_ANY);
    return ours ? take(ctx) : XDP_PASS;
  }
  const __u8 *ours = bpf_map_lookup_elem(&tpk_fragments, key);
  return !ours || *ours ? take(ctx) : XDP_PASS;
}

static __always_inline int filter_v4(struct xdp_md *ctx, void *at, void *end) {
  struct iphdr *ip = at;
  if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5) return XDP_PASS;
  void *l4 = at + ip->ihl * 4;
  struct address to;
  set_v4(&to, ip->daddr);
  const __u16 flags = bpf_ntohs(ip->frag_off);
  if (ip->protocol == IPPROTO_UDP) {
    if (!(flags & 0x3FFF)) return udp_ours(l4, end, &to, 0) ? take(ctx) : XDP_PASS;
    struct fragment key = {};
    set_v4(&key.source, ip->saddr);
    key.destination = to;
    key.id = ip->id;
    return filter_fragment(ctx, &key, !(flags & 0x1FFF), l4, end);
  }
  if (ip->protocol != IPPROTO_ICMP || (flags & 0x3FFF)) return XDP_PASS;
  struct icmp_header *icmp = l4;
  if ((void *)(icmp + 1) > end) return XDP_PASS;
  if (icmp->type != 3 && icmp->type != 11) return XDP_PASS;
  struct iphdr *quoted = (void *)(icmp + 1);
  if ((void *)(quoted + 1) > end || quoted->ihl < 5 || quoted->protocol != IPPROTO_UDP ||
      (bpf_ntohs(quoted->frag_off) & 0x1FFF)) {
    return XDP_PASS;
  }
  struct address from;
  set_v4(&from, quoted->saddr);
  return udp_ours((void *)quoted + quoted->ihl * 4, end, &from, 1) ? take(ctx) : XDP_PASS;
}

struct fragment_header {
  __u8 next;
  __u8 reserved;
  __be16 offset;
  __be32 id;
};

static __always_inline int filter_v6(struct xdp_md *ctx, void *at, void *end) {
  struct ipv6hdr *ip = at;
  if ((void *)(ip + 1) > end || ip->version != 6) return XDP_PASS;
  struct address to;
  set_v6(&to, &ip->daddr);
  if (ip->nexthdr == IPPROTO_UDP) return udp_ours(ip + 1, end, &to, 0) ? take(ctx) : XDP_PASS;
  if (ip->nexthdr == IPPROTO_FRAGMENT) {
    struct fragment_header *header = (void *)(ip + 1);
    if ((void *)(header + 1) > end || header->next != IPPROTO_UDP) return XDP_PASS;
    const __u16 offset = bpf_ntohs(header->offset) & 0xFFF9;
    if (!offset) return udp_ours(header + 1, end, &to, 0) ? take(ctx) : XDP_PASS;  // atomic: whole (RFC 6946)
    struct fragment key = {};
    set_v6(&key.source, &ip->saddr);
    key.destination = to;
    key.id = header->id;
    return filter_fragment(ctx, &key, offset == 1, header + 1, end);
  }
  if (ip->nexthdr != IPPROTO_ICMPV6) return XDP_PASS;
  struct icmp_header *icmp = (void *)(ip + 1);
  if ((void *)(icmp + 1) > end || icmp->type < 1 || icmp->type > 3) return XDP_PASS;
  struct ipv6hdr *quoted = (void *)(icmp + 1);
  if ((void *)(quoted + 1) > end) return XDP_PASS;
  struct address from;
  set_v6(&from, &quoted->saddr);
  if (quoted->nexthdr == IPPROTO_UDP) return udp_ours(quoted + 1, end, &from, 1) ? take(ctx) : XDP_PASS;
  struct fragment_header *first = (void *)(quoted + 1);
  if (quoted->nexthdr != IPPROTO_FRAGMENT || (void *)(first + 1) > end || first->next != IPPROTO_UDP ||
      (bpf_ntohs(first->offset) & 0xFFF8)) {
    return XDP_PASS;
  }
  return udp_ours(first + 1, end, &from, 1) ? take(ctx) : XDP_PASS;
}

struct vlan_tag {
  __be16 tci;
  __be16 type;  // of what follows
};

SEC("xdp")
int turnpike_filter(struct xdp_md *ctx) {
  void *at = (void *)(long)ctx->data;
  void *end = (void *)(long)ctx->data_end;
  struct ethhdr *ethernet = at;
  if ((void *)(ethernet + 1) > end) return XDP_PASS;
  __be16 type = ethernet->h_proto;
  void *l3 = ethernet + 1;
#pragma unroll
  for (int i = 0; i < 2; i++) {
    if (type != bpf_htons(ETH_P_8021Q) && type != bpf_htons(ETH_P_8021AD)) break;
    struct vlan_tag *tag = l3;
    if ((void *)(tag + 1) > end) return XDP_PASS;
    type = tag->type;
    l3 = tag + 1;
  }
  if (type == bpf_htons(ETH_P_IP)) return filter_v4(ctx, l3, end);
  if (type == bpf_htons(ETH_P_IPV6)) return filter_v6(ctx, l3, end);
  return XDP_PASS;
}

char filter_license[] SEC("license") = "Dual BSD/GPL";
