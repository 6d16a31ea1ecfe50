import { Card } from "@mantine/core";

export type Fact = [name: string, value: React.ReactNode];

/** What is known of something, as pairs of a name and a value. */
export function Facts({ facts, label }: { facts: readonly Fact[]; label?: string }) {
  return (
    <Card withBorder padding="sm" component="section" aria-label={label ?? "About"}>
      <dl className="facts">{facts.map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}</dl>
    </Card>
  );
}
