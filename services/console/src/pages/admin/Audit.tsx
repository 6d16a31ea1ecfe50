import { Badge, Group, MultiSelect, Select, Text } from "@mantine/core";
import { useInfiniteQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useMemo } from "react";

import { More } from "../../components/More";
import { auditQuery, OUTCOMES } from "../../api/admin";
import { Failure } from "../../components/Failure";
import { moment } from "../../format";
import type { AdminSearch } from "../../router";
import { Words } from "../Jobs";

const COLORS: Record<string, string> = { done: "green", denied: "red", rejected: "orange", failed: "red" };
const SINCE = [{ value: "1", label: "the last day" }, { value: "7", label: "the last week" }, { value: "30", label: "the last 30 days" }];

/** Every write, and every call without a good key. */
export function Audit() {
  const { actor, route, outcome, days } = useSearch({ from: "/admin" });
  const navigate = useNavigate({ from: "/admin" });
  // to the day, or every look would be another question
  const since = useMemo(() => (days ? new Date(Math.floor(Date.now() / 3_600_000) * 3_600_000 - Number(days) * 86_400_000).toISOString() : undefined), [days]);
  const found = useInfiniteQuery(auditQuery({ actor, route, outcome, since }));
  const set = (change: Partial<AdminSearch>) => void navigate({ search: (old) => ({ ...old, ...change }), replace: true });
  const rows = found.data?.pages.flatMap((page) => page.items) ?? [];
  return (
    <>
      <Group mb="md" align="flex-end" gap="sm">
        <Words label="Owner" value={actor} set={(to) => set({ actor: to })} />
        <MultiSelect label="Outcome" data={[...OUTCOMES]} value={outcome ?? []} w={220} clearable placeholder={outcome ? undefined : "any"}
          onChange={(to) => set({ outcome: to as AdminSearch["outcome"] })} />
        <Words label="Route" hint="/v1/jobs" value={route} set={(to) => set({ route: to })} />
        <Select label="Time" data={SINCE} value={days ?? null} clearable placeholder="any" w={170} onChange={(to) => set({ days: to ?? undefined })} />
      </Group>
      {found.error && <Failure error={found.error} retry={() => void found.refetch()} />}
      {found.isSuccess && rows.length === 0 && <Text c="dimmed" size="sm">Nothing is like that.</Text>}
      {rows.length > 0 && (
        <div className="scroll" tabIndex={0} role="region" aria-label="Audit log" style={{ maxHeight: "calc(100vh - 320px)", minHeight: 240 }}>
          <table className="rows">
            <thead>
              <tr>
                <th scope="col">When</th><th scope="col">Who</th><th scope="col">From</th><th scope="col">What</th><th scope="col">Outcome</th><th scope="col">Detail, request</th>
              </tr>
            </thead>
            <tbody>
              {rows.map((row) => (
                <tr key={row.seq}>
                  <td style={{ whiteSpace: "nowrap" }}>{moment(row.at)}</td>
                  <td>{row.actor ?? "nobody known"}<Text size="xs" c="dimmed">{row.key_id ?? ""}</Text></td>
                  <td>{row.address ?? "–"}</td>
                  <td className="one" title={row.path}>{row.method} {row.path}</td>
                  <td><Badge variant="light" tt="none" className="state" color={COLORS[row.outcome]}>{row.outcome} {row.status}</Badge></td>
                  <td>{row.detail}<Text size="xs" c="dimmed">{row.request_id}</Text></td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      <More of={found} />
    </>
  );
}
