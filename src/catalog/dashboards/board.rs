//! How does a dashboard of Grafana's look as JSON? Panels that flow from left to right, with what all dashboards share.

use serde_json::{Value, json};

/// The phrase by which a description begins to say when a panel has nothing to show.
pub const EMPTY: &str = "Empty where";

/// How a panel draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Draw {
    /// Lines over time.
    Lines,
    /// The same, one upon the other.
    Stack,
    /// The last value of each series.
    Stat,
    /// A row for each series, now.
    Table,
    /// A bar of colours over time for each series.
    States,
}

/// A query and how its series are called.
#[derive(Clone, Debug)]
pub(super) struct Query {
    id: String,
    expr: String,
    legend: String,
}

/// A panel before it has its place.
#[derive(Clone, Debug)]
pub(super) struct Panel {
    draw: Draw,
    title: String,
    description: String,
    unit: &'static str,
    size: (u32, u32),
    queries: Vec<Query>,
    health: bool,
}

impl Panel {
    pub(super) fn new(draw: Draw, title: &str, description: &str) -> Self {
        let (title, description) = (title.to_owned(), description.to_owned());
        let size = if draw == Draw::Stat { (6, 5) } else { (8, 8) };
        Self { draw, title, description, unit: "short", size, queries: Vec::new(), health: false }
    }

    /// In this unit of Grafana's.
    pub(super) fn unit(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }

    /// This wide, of 24, and this high.
    pub(super) fn size(self, width: u32, height: u32) -> Self {
        Self { size: (width, height), ..self }
    }

    /// From 0 to 1, red where it is low.
    pub(super) fn health(self) -> Self {
        Self { unit: "percentunit", health: true, ..self }
    }

    /// With one more query.
    pub(super) fn query(mut self, expr: impl Into<String>, legend: &str) -> Self {
        let id = char::from(b'A' + self.queries.len() as u8).to_string();
        self.queries.push(Query { id, expr: expr.into(), legend: legend.to_owned() });
        self
    }

    /// With an end of the expected band, drawn dashed.
    pub(super) fn band(mut self, id: &str, expr: String, legend: &str) -> Self {
        self.queries.push(Query { id: id.to_owned(), expr, legend: legend.to_owned() });
        self
    }

    fn json(&self, id: usize, x: u32, y: u32) -> Value {
        let table = self.draw == Draw::Table;
        let targets: Vec<Value> = self.queries.iter().map(|q| target(q, table)).collect();
        let mut panel = json!({
            "id": id,
            "type": match self.draw {
                Draw::Lines | Draw::Stack => "timeseries",
                Draw::Stat => "stat",
                Draw::Table => "table",
                Draw::States => "state-timeline",
            },
            "title": self.title,
            "description": self.description,
            "datasource": datasource(),
            "gridPos": {"x": x, "y": y, "w": self.size.0, "h": self.size.1},
            "interval": "1m",
            "targets": targets,
            "fieldConfig": {"defaults": self.defaults(), "overrides": self.overrides()},
            "options": self.options(),
        });
        if table {
            let hidden = json!({"Time": true, "Value": true, "job": true, "instance": true});
            let value = if self.unit == "short" { hidden } else { json!({"Time": true}) };
            panel["transformations"] =
                json!([{"id": "organize", "options": {"excludeByName": value}}]);
        }
        panel
    }

    fn defaults(&self) -> Value {
        let mut defaults = json!({"unit": self.unit});
        if matches!(self.draw, Draw::Lines | Draw::Stack) {
            let stacking = if self.draw == Draw::Stack { "normal" } else { "none" };
            let fill = if self.draw == Draw::Stack { 20 } else { 0 };
            defaults["custom"] = json!({
                "lineWidth": 1, "fillOpacity": fill, "showPoints": "auto", "spanNulls": false,
                "stacking": {"mode": stacking, "group": "A"},
            });
        }
        if self.health {
            defaults["min"] = json!(0);
            defaults["max"] = json!(1);
            defaults["color"] = json!({"mode": "thresholds"});
            defaults["thresholds"] = json!({"mode": "absolute", "steps": [
                {"color": "red", "value": null}, {"color": "orange", "value": 0.5},
                {"color": "yellow", "value": 0.9}, {"color": "green", "value": 0.99},
            ]});
        }
        defaults
    }

    fn overrides(&self) -> Vec<Value> {
        let ends =
            self.queries.iter().filter(|q| ["lower", "upper", "expected"].contains(&q.id.as_str()));
        ends.map(|q| {
            json!({"matcher": {"id": "byFrameRefID", "options": q.id}, "properties": [
                {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 8]}},
                {"id": "color", "value": {"mode": "fixed", "fixedColor": "blue"}},
            ]})
        })
        .collect()
    }

    fn options(&self) -> Value {
        match self.draw {
            Draw::Lines | Draw::Stack => json!({
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": true},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }),
            Draw::Stat => json!({
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
                "colorMode": if self.health { "background" } else { "value" },
                "graphMode": "area", "textMode": "auto", "justifyMode": "auto", "orientation": "auto",
            }),
            Draw::Table => json!({"showHeader": true}),
            Draw::States => json!({
                "mergeValues": true, "showValue": "never", "rowHeight": 0.9, "alignValue": "left",
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": false},
                "tooltip": {"mode": "single", "sort": "none"},
            }),
        }
    }
}

fn target(query: &Query, table: bool) -> Value {
    let mut target = json!({
        "refId": query.id, "datasource": datasource(), "expr": query.expr,
        "legendFormat": query.legend, "editorMode": "code", "range": !table, "instant": table,
    });
    if table {
        target["format"] = json!("table");
    }
    target
}

fn datasource() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

/// What stands on a dashboard, in its order.
#[derive(Clone, Debug)]
pub(super) enum Item {
    /// A heading over the panels that follow.
    Row(&'static str),
    /// A panel.
    Panel(Box<Panel>),
}

impl From<Panel> for Item {
    fn from(panel: Panel) -> Self {
        Self::Panel(Box::new(panel))
    }
}

/// A variable that is filled from a label.
pub(super) fn variable(name: &str, label: &str, query: &str, all: bool) -> Value {
    let current =
        if all { json!({"selected": true, "text": "All", "value": "$__all"}) } else { json!({}) };
    json!({
        "name": name, "label": label, "type": "query", "datasource": datasource(),
        "query": {"query": query, "refId": name}, "definition": query, "refresh": 2, "sort": 1,
        "hide": 0, "options": [], "regex": "", "current": current,
        "includeAll": all, "multi": all, "allValue": if all { json!(".*") } else { Value::Null },
    })
}

/// A dashboard.
#[derive(Clone, Debug)]
pub(super) struct Board {
    pub(super) uid: String,
    pub(super) title: String,
    pub(super) description: String,
    pub(super) variables: Vec<Value>,
    pub(super) annotations: Vec<Value>,
    pub(super) items: Vec<Item>,
}

impl Board {
    pub(super) fn new(end: &str, title: &str, description: &str) -> Self {
        Self {
            uid: format!("kubestrata-{end}"),
            title: format!("Kubestrata / {title}"),
            description: description.to_owned(),
            variables: Vec::new(),
            annotations: Vec::new(),
            items: Vec::new(),
        }
    }

    /// The file, and what is in it.
    pub(super) fn file(self) -> (String, String) {
        let mut variables = vec![
            json!({"name": "datasource", "label": "Data source", "type": "datasource",
                "query": "prometheus", "refresh": 1, "hide": 0, "current": {}, "options": [],
                "regex": "", "includeAll": false, "multi": false}),
            variable("cluster", "Cluster", "label_values(kubestrata_build_info, cluster)", true),
        ];
        variables.extend(self.variables);
        let mut annotations =
            vec![json!({"builtIn": 1, "type": "dashboard", "enable": true, "hide": true,
            "datasource": {"type": "grafana", "uid": "-- Grafana --"},
            "iconColor": "rgba(0, 211, 255, 1)", "name": "Annotations & Alerts"})];
        annotations.extend(self.annotations);
        let board = json!({
            "uid": self.uid, "title": self.title, "description": self.description,
            "tags": ["kubestrata"], "schemaVersion": 39, "version": 1, "editable": true,
            "graphTooltip": 1, "timezone": "utc", "refresh": "1m",
            "time": {"from": "now-6h", "to": "now"},
            "annotations": {"list": annotations},
            "links": [{"type": "dashboards", "title": "Kubestrata", "tags": ["kubestrata"],
                "asDropdown": true, "icon": "external link", "includeVars": true, "keepTime": true,
                "targetBlank": false, "tooltip": "", "url": ""}],
            "templating": {"list": variables},
            "panels": place(&self.items),
        });
        (format!("dashboards/{}.json", self.uid), format!("{board:#}\n"))
    }
}

/// Panels from left to right, a new line where one does not fit.
fn place(items: &[Item]) -> Vec<Value> {
    let (mut x, mut y, mut line) = (0, 0, 0);
    let mut panels = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let id = index + 1;
        match item {
            Item::Row(title) => {
                y += line;
                (x, line) = (0, 0);
                panels.push(json!({"id": id, "type": "row", "title": title, "collapsed": false,
                    "panels": [], "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}}));
                y += 1;
            }
            Item::Panel(panel) => {
                if x + panel.size.0 > 24 {
                    y += line;
                    (x, line) = (0, 0);
                }
                panels.push(panel.json(id, x, y));
                x += panel.size.0;
                line = line.max(panel.size.1);
            }
        }
    }
    panels
}

/// Something that is drawn over the time of all panels while this query gives a series.
pub(super) fn annotation(name: &str, colour: &str, expr: &str, title: &str, tags: &str) -> Value {
    json!({"name": name, "enable": true, "hide": false, "iconColor": colour, "datasource": datasource(),
        "expr": expr, "step": "1m", "titleFormat": title, "textFormat": "", "tagKeys": tags,
        "useValueForTime": false})
}
