// The dashboard, as Grafana's own published types (@grafana/schema) have it: a name they do not know, a value that is
// not among theirs or a part that is missing does not compile. tests/deploy/grafana.rs puts the dashboard behind this.
import type { Dashboard, FieldConfig, GraphFieldConfig, Panel, RowPanel } from '@grafana/schema';
import type { Options as Stat } from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen.d.ts';
import type { Options as TimeSeries } from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen.d.ts';

/** A type as JSON writes it: enumerations by their values. */
type Json<T> = T extends string ? `${T}` : T extends object ? { [K in keyof T]: Json<T[K]> } : T;

/** A query to Prometheus; their package has no types of it. */
interface Target {
  refId: string;
  datasource: { type: 'prometheus'; uid: string };
  expr: string;
  legendFormat: string;
  instant?: true;
  range?: true;
}

interface Shown<Type extends string, Options, Custom> extends Omit<Json<Panel>, 'type' | 'options' | 'fieldConfig' | 'targets'> {
  type: Type;
  targets: Target[];
  options: Json<Options>;
  fieldConfig: { defaults: Omit<Json<FieldConfig>, 'custom'> & { custom?: Json<Custom> }; overrides: [] };
}

interface Ours extends Omit<Json<Dashboard>, 'panels'> {
  panels: (Shown<'stat', Stat, never> | Shown<'timeseries', TimeSeries, GraphFieldConfig> | (Json<RowPanel> & { type: 'row' }))[];
}

export const dashboard: Ours =
