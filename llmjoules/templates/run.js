// Draws the page of a run that has none of its own: the same words as run.html, in the same order. Change both.
(function () {
  "use strict";
  var LJ = window.LJ, h = LJ.h, place = document.querySelector("[data-run]"), empty = place.firstElementChild.cloneNode(true);
  var shown = "";

  function badge(found) { return [h("span", { class: "badge " + found[0], title: found[2] }, found[1]), " "]; }

  function pm(mean, half) {
    return h("span", { class: "num" }, mean, half ? [" ", h("span", { class: "pm" }, "± " + half)] : "");
  }

  function facts(list) {
    return h("dl", { class: "facts" }, list.map(function (fact) {
      return h("div", {}, h("dt", {}, fact.name), h("dd", {}, fact.value));
    }));
  }

  function square(kind) {
    return h("svg", { viewBox: "0 0 12 12", width: 12, height: 12, "aria-hidden": "true" },
      h("rect", { class: "fill " + kind, width: 12, height: 12, rx: 2 }));
  }

  function scroll(label, table) { return h("section", { class: "scroll", tabindex: 0, "aria-label": label }, table); }

  function head(cells) {
    return h("thead", {}, h("tr", {}, cells.map(function (cell) { return h("th", { scope: "col", class: cell[1] || null }, cell[0]); })));
  }

  function cards(view, beside) {
    if (!view.cards.length) { return null; }
    return h("ul", { class: "cards" }, view.cards.map(function (card) {
      var mean = beside && beside.means[card.mean];
      return h("li", {}, h("span", { class: "label" }, card.label),
        h("span", { class: "value" }, card.value, card.unit ? [" ", h("span", { class: "unit" }, card.unit)] : ""),
        card.half ? h("span", { class: "small" }, "± " + card.half + " " + card.unit) : "",
        card.notes.concat(mean ? [mean] : []).map(function (note) { return h("span", { class: "small" }, note); }));
    }));
  }

  function power(view) {
    if (!view.plot) { return [h("h2", {}, "Power over time"), h("p", { class: "lead" }, view.no_trace)]; }
    var data = h("script", { type: "application/json", id: "data-power" });
    data.textContent = JSON.stringify(view.plot);
    return h("div", { class: "chart" }, h("figure", { "aria-labelledby": "name-power" },
      h("h2", { class: "chart-title", id: "name-power" }, "Power over time"),
      h("div", { class: "plot wide", "data-chart": "data-power", tabindex: 0, "aria-describedby": "says-power" }), data,
      h("ul", { class: "legend" }, view.legend.map(function (band) {
        return h("li", {}, square(band[0]), " " + band[1] + " ", h("span", { class: "note" }, band[2]));
      })),
      h("figcaption", { id: "says-power" }, view.caption)),
      h("div", { class: "span", "data-span": "data-power", hidden: "" }), numbers(view.plot));
  }

  // Every bucket, which a page without scripts takes a few at a time.
  function numbers(plot) {
    var details = h("details", { class: "numbers" }, h("summary", {}, "Numbers as a table"));
    details.addEventListener("toggle", function () {
      if (details.children.length > 1) { return; }
      var trace = LJ.power(plot).trace, banded = trace.lines.length <= 3, names = [["From, s"], ["To, s"]];
      trace.lines.forEach(function (line) {
        names.push([line.name + " mean, W"]);
        if (banded && line.low) { names.push(["least"], ["most"]); }
      });
      details.append(scroll("Numbers: Power over time", h("table", { class: "plain" }, head(names), h("tbody", {},
        trace.edges.slice(1).map(function (edge, i) {
          var cells = [trace.edges[i].toFixed(3), edge.toFixed(3)];
          trace.lines.forEach(function (line) {
            cells.push(LJ.number(line.mean[i], 4));
            if (banded && line.low) { cells.push(LJ.number(line.low[i]), LJ.number(line.high[i])); }
          });
          return h("tr", {}, cells.map(function (cell) { return h("td", {}, cell); }));
        })))));
    });
    return details;
  }

  function tokens(view) {
    if (!view.plot || !view.tokens) { return null; }
    var times = view.plot.tokens.times_s, start = view.plot.tokens.from_s, ends = [1], rows = [];
    for (var k = 1; k <= 10; k++) {
      var end = Math.round(times.length * k / 10);
      if (end > ends[ends.length - 1]) { ends.push(end); }
    }
    ends.forEach(function (end, row) {
      var before = row ? ends[row - 1] : 0, since = before ? times[before - 1] : start;
      rows.push([String(Number((end * view.plot.tokens.each).toPrecision(6))), (times[end - 1] - start).toFixed(4), LJ.number(1000 * (times[end - 1] - since) / (end - before))]);
    });
    return h("div", { class: "chart" }, h("figure", { "aria-labelledby": "name-tokens" },
      h("h2", { class: "chart-title", id: "name-tokens" }, "Tokens over time"),
      h("div", { class: "plot wide", "data-chart": "data-power", "data-of": "tokens", tabindex: 0, "aria-describedby": "says-tokens" }),
      h("figcaption", { id: "says-tokens" }, view.tokens)),
      h("details", { class: "numbers" }, h("summary", {}, "Numbers as a table"),
        scroll("Numbers: Tokens over time", h("table", { class: "plain" }, head([["Tokens"], ["Ready after, s"], ["ms a step since the row above"]]),
          h("tbody", {}, rows.map(function (cells) { return h("tr", {}, cells.map(function (cell) { return h("td", {}, cell); })); }))))));
  }

  function bars(row, phases) {
    if (!row.bars.length) { return null; }
    return h("svg", { viewBox: "0 0 220 " + phases.bar_height, width: 220, height: phases.bar_height, "aria-hidden": "true" },
      row.bars.map(function (bar) {
        return h("rect", { class: "fill " + bar.colour, x: 0, y: bar.y, width: bar.width, height: phases.legend.length < 2 ? 10 : 6, rx: 1 });
      }));
  }

  function phaseTable(phases) {
    if (!phases.rows.length) { return h("p", { class: "lead" }, "The record holds no phases."); }
    var names = [["Phase"], ["Time", "n"]], body = [];
    phases.columns.forEach(function (column) {
      var kind = "n" + (column.beside ? " beside" : "");
      names.push([column.name + ", " + phases.unit, kind], ["W", kind]);
    });
    names.push([h("span", { class: "unseen" }, "Bar")]);
    phases.rows.forEach(function (row) {
      var cells = [h("th", { scope: "row" }, row.name), h("td", { class: "n" }, row.seconds)];
      row.cells.forEach(function (cell, i) {
        var kind = "n" + (phases.columns[i].beside ? " beside" : "");
        cells.push(h("td", { class: kind }, cell.reason
          ? h("span", { class: "none", title: cell.channel + ", " + row.name + ": " + cell.reason }, "–") : pm(cell.joules, cell.half)));
        cells.push(h("td", { class: kind }, cell.watts));
      });
      body.push(h("tr", { class: row.part ? "part" : null }, cells, h("td", { class: "bar" }, bars(row, phases))));
      row.cells.forEach(function (cell, i) {
        if (!cell.reason || phases.columns[i].beside) { return; }
        body.push(h("tr", { class: "why" }, h("td", { colspan: 3 + 2 * phases.columns.length },
          h("div", { class: "stay note" }, cell.channel + ", " + row.name + ": " + cell.reason))));
      });
    });
    return [
      scroll("Energy by phase", h("table", { class: "plain phases" }, head(names), h("tbody", {}, body))),
      phases.legend.length ? h("ul", { class: "legend" }, phases.legend.map(function (kind) {
        return h("li", {}, square(kind[0]), " " + kind[1]);
      })) : null,
      phases.notes.map(function (note) { return h("p", { class: "footnote" }, note); }),
      phases.apart.length ? h("details", { class: "numbers" }, h("summary", {}, "Where the readings beside the totals have no figure"),
        h("ul", { class: "plain-list" }, phases.apart.map(function (why) { return h("li", {}, why); }))) : null
    ];
  }

  function states(rows) {
    if (!rows.length) { return null; }
    return [h("h2", {}, "Devices during the inference"),
      scroll("Devices during the inference", h("table", { class: "plain" },
        head([["Channel"], ["State"], ["First", "n"], ["Last", "n"], ["Least to most", "n"]]),
        h("tbody", {}, rows.map(function (row) {
          return h("tr", {}, h("th", { scope: "row" }, row.channel), h("td", {}, row.quantity),
            [row.first, row.last, row.extent].map(function (cell) { return h("td", { class: "n" }, cell); }));
        })))),
      h("p", { class: "footnote" }, "Read about once a second; where none of it fell into the inference, the nearest before and after.")];
  }

  function channels(view) {
    if (!view.channels.length) { return null; }
    var names = ["Channel", "Meter", "Component", "Extent", "Kind", "Source", "Renewed every", "Resolution", "Looks for", "Gain", "Device or note"];
    return [h("h2", {}, "Channels"),
      scroll("Channels", h("table", { class: "plain" }, head(names.map(function (name) { return [name]; })),
        h("tbody", {}, view.channels.map(function (row) {
          return h("tr", {}, row.map(function (cell, i) { return i ? h("td", {}, cell) : h("th", { scope: "row" }, cell); }));
        })))),
      view.options.length ? [h("h3", {}, "Options of the meter"), h("div", { class: "longer" }, facts(view.options))] : null];
  }

  function command(view) {
    if (!view.command) { return null; }
    return [h("h2", {}, "Repeat this run"), h("div", { class: "copy" },
      h("pre", { tabindex: 0 }, h("code", { id: "command" }, view.command)),
      h("button", { type: "button", "data-copy": "command", hidden: "" }, "Copy"))];
  }

  function draw(view, beside) {
    var about = [view.nth + (beside && beside.of ? " of " + beside.of : "")].concat(view.about).join(" · ");
    document.title = view.title + document.title.slice(document.title.lastIndexOf(" – "));
    place.replaceChildren.apply(place, [
      h("p", { class: "crumbs" }, h("a", { href: LJ.root + "runs/index.html" }, "Runs"), " › ",
        h("a", { href: LJ.root + view.model_page }, view.model), " › ", h("a", { href: LJ.root + view.system_page }, view.system)),
      h("h1", {}, view.title),
      h("p", { class: "lead" }, about + " ", view.badges.map(badge)),
      view.error ? h("div", { class: "card error", role: "note" }, h("strong", {}, "This run did not finish."), " " + view.error) : null,
      view.flags.length ? h("div", { class: "card flags", role: "note" }, h("strong", {}, "Before trusting these figures:"),
        h("ul", {}, view.flags.map(function (flag) { return h("li", {}, flag + "."); }))) : null,
      cards(view, beside),
      beside ? h("p", { class: "footnote" }, h("a", { href: LJ.root + beside.setting }, "All runs of this setting")) : null,
      power(view), tokens(view),
      h("div", { class: "split" + (view.phases.columns.length > 2 ? " below" : "") },
        h("section", {}, h("h2", {}, "Energy by phase"), phaseTable(view.phases)),
        h("aside", { class: "card" }, h("h2", {}, "Evidence"), facts(view.evidence),
          h("p", {}, h("a", { href: LJ.root + "downloads.html" }, "Download all records"), " ", h("span", { class: "note" }, "JSON, with the traces")))),
      h("h2", {}, "Model, system and work"),
      h("div", { class: "columns" }, facts(view.facts)),
      states(view.states), channels(view), command(view),
      h("details", { class: "raw" }, h("summary", {}, "The record without its trace"), h("pre", { tabindex: 0 }, view.raw))
    ].flat(2).filter(Boolean));
    LJ.watch(place);
  }

  function fail(words) {
    shown = "";
    place.replaceChildren(empty, h("p", { class: "lead", role: "alert" }, words));
  }

  function show() {
    // As 404.html it is found in the place of a run whose own page newer ones have taken.
    var id = /[#;&]id=([a-z0-9-]+)/.exec(location.hash) || /\/runs\/([a-z0-9-]+)\.html$/.exec(location.pathname), found = null;
    if (!id) { fail("The address names no run."); return; }
    if (id[1] === shown) { return; }  // another span of it
    var asked = shown = id[1];
    LJ.load("where/" + asked.slice(-8, -6)).then(function (where) {
      found = Object.prototype.hasOwnProperty.call(where, asked) ? where[asked] : null;
      if (!found) { throw new Error("There is no run of this name."); }
      return Promise.all([LJ.packed("runs/" + found[0]), found[2] ? LJ.load("settings/" + found[2].slice(0, 2)) : {}]);
    }).then(function (loaded) {
      if (asked === shown) { draw(loaded[0][found[1]], loaded[1][found[2]]); }  // else the reader has gone on
    }).catch(function (error) { if (asked === shown) { fail(error.message); } });
  }

  addEventListener("hashchange", show);
  show();
})();
