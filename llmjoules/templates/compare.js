// Compares settings that the reader picks. The choice lives in the link (#v1;s=key,key); the figures come in a data file.
(function () {
  "use strict";
  var VERSION = "v1", LJ = window.LJ, box = document.querySelector("[data-compare]"), list = [], byKey = new Map(), byName = new Map();
  var chosen = [], pick = box.querySelector("[data-pick]"), out = box.querySelector("[data-result]"), says = box.querySelector("[data-says]");

  // Called by the data file. rows: one object per setting and component.
  LJ.rows = function (rows) {
    list = rows;
    box.querySelector("datalist").append(...rows.map(function (row) {
      byKey.set(row.key, row);
      while (byName.has(row.name)) { row.name += " "; }
      byName.set(row.name, row);
      return LJ.h("option", { value: row.name });
    }));
    restore();
  };

  // ---- arithmetic: as records/student.py, difference.py and compare.py; a browser test sets the two side by side ------

  function lgamma(x) {  // Lanczos, with the coefficients of Godfrey for g = 7
    var c = [676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059, 12.507343278686905,
      -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7], sum = 0.99999999999980993, t = x + 6.5;
    c.forEach(function (value, place) { sum += value / (x + place); });
    return Math.log(2 * Math.PI) / 2 + (x - 0.5) * Math.log(t) - t + Math.log(sum);
  }

  function notZero(value) { return Math.abs(value) > 1e-300 ? value : 1e-300; }

  function fraction(x, a, b) {
    var c = 1, d = 1 / notZero(1 - (a + b) * x / (a + 1)), value = d;
    for (var m = 1; m < 500; m++) {
      [m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)), -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))].forEach(function (step) {
        d = 1 / notZero(1 + step * d);
        c = notZero(1 + step / c);
        value *= c * d;
      });
      if (Math.abs(c * d - 1) < 1e-14) { break; }
    }
    return value;
  }

  // P(|T| > |t|), by the regularised incomplete beta function; rest: 1 − x, exactly.
  function twoSided(t, degrees) {
    var x = degrees / (degrees + t * t), rest = t * t / (degrees + t * t), a = degrees / 2, b = 0.5;
    if (!(x && rest)) { return rest ? 0 : 1; }
    var front = Math.exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * Math.log(x) + b * Math.log(rest));
    return x > (a + 1) / (a + b + 2) ? 1 - front * fraction(rest, b, a) / b : front * fraction(x, a, b) / a;
  }

  // The t that |T| exceeds with probability alpha: the tail is convex, so Newton's steps from 0 stay below it.
  function critical(alpha, degrees) {
    var front = lgamma((degrees + 1) / 2) - lgamma(degrees / 2) - Math.log(degrees * Math.PI) / 2, t = 0, step = 1;
    for (var turn = 0; turn < 200 && step > 1e-12 * t; turn++) {
      step = (twoSided(t, degrees) - alpha) / (2 * Math.exp(front - (degrees + 1) / 2 * Math.log1p(t * t / degrees)));
      t += step;
    }
    return t;
  }

  function mean(values) { return values.reduce(function (sum, value) { return sum + value; }, 0) / values.length; }

  function covariance(a, b) {
    var x = mean(a), y = mean(b);
    return a.reduce(function (sum, value, place) { return sum + (value - x) * (b[place] - y); }, 0) / (a.length - 1);
  }

  // Degrees of freedom of va + vb at a level: Welch and Satterthwaite's, of upper bounds by each one's own Student t.
  function degreesOf(va, vb, na, nb, level) {
    var a = va * Math.pow(critical(level, na), 2), b = vb * Math.pow(critical(level, nb), 2), squares = a * a / na + b * b / nb;
    return squares ? (a + b) * (a + b) / squares : na + nb;
  }

  // Of mean(a) + mean(b): value, standard error and degrees of freedom at a level; null where a side has one point.
  // ratio: of the means, where it gets an interval from the same t.
  function scatter(a, b, paired, ratio) {
    var error, degrees, na = a.length - 1, nb = b.length - 1;
    if (Math.min(na, nb) < 1) { return null; }
    if (paired) {
      var sums = a.map(function (value, place) { return value + b[place]; });
      error = Math.sqrt(covariance(sums, sums) / sums.length);
      degrees = function () { return na; };
    } else {
      var va = covariance(a, a) / a.length, vb = covariance(b, b) / b.length;
      error = Math.sqrt(va + vb);
      degrees = function (level) { return Math.min(degreesOf(va, vb, na, nb, level), degreesOf(ratio * ratio * va, vb, na, nb, level)); };
    }
    return { value: mean(a) + mean(b), error: error, degrees: degrees };
  }

  // The level at which the interval just reaches zero, by regula falsi (Illinois) on its log.
  function levelOf(found) {
    if (!found.error) { return Number(!found.value); }
    function p(x) { return twoSided(found.value / found.error, found.degrees(Math.exp(x))); }
    function off(x) { return Math.log(Math.max(p(x), 1e-30)) - x; }
    var x = 0, miss = off(x), other = Math.log(1e-30), otherMiss = off(other);
    for (var turn = 0; turn < 100 && Math.abs(miss) >= 1e-12 && otherMiss !== miss; turn++) {
      var at = (other * miss - x * otherMiss) / (miss - otherMiss), next = off(at);
      if (next * miss < 0) { other = x; otherMiss = miss; } else { otherMiss /= 2; }
      x = at;
      miss = next;
    }
    return p(x);
  }

  // Ends, in percent, of Fieller's interval of B/A − 1; null where it has none, since A's own reaches to zero.
  function fieller(ja, jb, degrees, paired, alpha) {
    var a = mean(ja), b = mean(jb), t2 = Math.pow(critical(alpha, degrees), 2), both = paired ? covariance(ja, jb) / ja.length : 0;
    var square = a * a - t2 * covariance(ja, ja) / ja.length, linear = a * b - t2 * both;
    var inside = linear * linear - square * (b * b - t2 * covariance(jb, jb) / jb.length);
    if (square <= 0 || inside < 0) { return null; }
    return [-1, 1].map(function (sign) { return 100 * ((linear + sign * Math.sqrt(inside)) / square - 1); });
  }

  // What of a difference comes from power and what from time: exact, with intervals to first order.
  function parts(a, b, paired, alpha) {
    if (a.concat(b).some(function (point) { return !point[1]; })) { return null; }
    var ja = mean(a.map(first)), ta = mean(a.map(second)), jb = mean(b.map(first)), tb = mean(b.map(second));
    var power = (jb / tb - ja / ta) * (ta + tb) / 2, byJa = -(1 + tb / ta) / 2, byJb = (1 + ta / tb) / 2;
    var byTa = (jb / tb + ja * tb / (ta * ta)) / 2, byTb = -(jb * ta / (tb * tb) + ja / ta) / 2;
    function half(fa, ga, fb, gb) {
      var found = scatter(a.map(function (x) { return fa * x[0] + ga * x[1]; }), b.map(function (x) { return fb * x[0] + gb * x[1]; }), paired, 1);
      return found && critical(alpha, found.degrees(alpha)) * found.error;
    }
    return { power: power, powerHalf: half(byJa, byTa, byJb, byTb), time: jb - ja - power, timeHalf: half(-1 - byJa, -byTa, 1 - byJb, -byTb) };
  }

  function first(point) { return point[0]; }

  function second(point) { return point[1]; }

  // The same means with so many times the scatter, for a side whose repeats ended because they looked alike.
  function widened(points, factor) {
    var j = mean(points.map(first)), known = points.map(second).filter(function (s) { return s !== null; }), s = known.length ? mean(known) : 0;
    return points.map(function (x) { return [j + factor * (x[0] - j), x[1] === null ? null : s + factor * (x[1] - s)]; });
  }

  // Do the loads alternate in time, each two that follow one another being one of each side?
  function tookTurns(a, b) {
    if (!a.starts || !b.starts || a.starts.length !== b.starts.length || a.starts.length < 4) { return false; }
    var starts = a.starts.map(function (at) { return [at, 0]; }).concat(b.starts.map(function (at) { return [at, 1]; }));
    if (starts.some(function (start) { return start[0] === null; })) { return false; }
    starts.sort(function (x, y) { return x[0] - y[0]; });
    return starts.every(function (start, place) { return place % 2 || start[1] !== starts[place + 1][1]; });
  }

  // Of two cells that were compared while they were measured: the repeats that both have, by load.
  function inTurns(a, b) {
    var sides = [a, b].map(function (row) { return new Map(row.turns.runs.map(function (run) { return [run[0], run]; })); });
    var both = Array.from(sides[0].keys()).filter(function (n) { return sides[1].has(n); }).sort(function (x, y) { return x - y; });
    var points = sides.map(function (side) {
      var loads = new Map();
      both.forEach(function (n) { var run = side.get(n); loads.set(run[1], (loads.get(run[1]) || []).concat([run.slice(2)])); });
      if (loads.size < 2) { return both.map(function (n) { return side.get(n).slice(2); }); }
      return Array.from(loads.values(), function (load) {
        return [mean(load.map(first)), load.some(function (x) { return x[1] === null; }) ? null : mean(load.map(second))];
      });
    });
    var loads = sides.map(function (side) { return new Set(both.map(function (n) { return side.get(n)[1]; })).size; });
    return { points: points, runs: both.length, loads: loads };
  }

  function difference(a, b) {
    var level = a.turns && b.turns && a.turns.study === b.turns.study ? Math.max(a.turns.level, b.turns.level) : 0;
    var looked = level > 0, alpha = looked ? level : 0.05;
    var used = looked ? inTurns(a, b) : null, points = used ? used.points : [a.points, b.points], paired = looked || tookTurns(a, b);
    points = [widened(points[0], a.widened || 1), widened(points[1], b.widened || 1)];
    var ja = points[0].map(first), jb = points[1].map(first), found = scatter(ja.map(function (j) { return -j; }), jb, paired, mean(jb) / mean(ja));
    var ends = found && fieller(ja, jb, found.degrees(alpha), paired, alpha), p = found && levelOf(found);
    return {
      percent: 100 * (mean(jb) / mean(ja) - 1), low: ends && ends[0], high: ends && ends[1], p: p,
      same: Boolean(found) && p >= alpha, paired: paired, looked: looked, parts: parts(points[0], points[1], paired, alpha),
      loads: Boolean(a.starts && b.starts), used: used
    };
  }

  // ---- words --------------------------------------------------------------------------------------------------------

  // Such joules rank nothing: in whose words they are said, and what they are. reports.py says the same.
  var UNMEASURED = {
    estimated: ["by the model", "what a model says, not a measurement"],
    simulated: ["in the simulation", "what was simulated, not a measurement"]
  };

  function pm(value, half) { return LJ.plusMinus(value, half).filter(Boolean).join(" \u00b1 ").replace(/-/g, "\u2212"); }

  function number(value) { return LJ.number(value).replace("-", "\u2212"); }

  // With both ends where they lie unlike far from it, as happens for large differences.
  function percent(found, sign) {
    if (found.low === null) { return number(sign * found.percent) + " %" + (found.p === null ? "" : " (no interval: A's own reaches to zero)"); }
    var below = found.percent - found.low, above = found.high - found.percent;
    if (Math.max(below, above) <= 1.15 * Math.min(below, above)) { return pm(sign * found.percent, Math.max(below, above)) + " %"; }
    var ends = [sign * found.low, sign * found.high].sort(function (x, y) { return x - y; });
    return number(sign * found.percent) + " % (" + number(ends[0]) + " to " + number(ends[1]) + " %)";
  }

  // Why a ratio of these two would say nothing; empty where it does.
  function barrier(a, b) {
    if (!a.token || !b.token) { return (a.token ? b : a).name.trim() + " has no energy per token: " + ((a.token ? b : a).reason || "no reason is given"); }
    if (a.component !== b.component) { return "one is " + a.component + " energy, the other " + b.component + " energy: different parts of a machine"; }
    if (a.source !== b.source) { return "one is " + a.source + ", the other " + b.source; }
    if (a.extent !== b.extent) { return "one is of the " + a.extent + ", the other of the " + b.extent; }
    if (a.within && a.system !== b.system) { return "the maker's model behind these figures says nothing between machines"; }
    if (!a.points.length || !b.points.length || a.token.mean <= 0) { return "a ratio needs energy above zero on both sides"; }
    return "";
  }

  // What the meters may be off by beside the interval.
  function gains(a, b, found) {
    if (a.board && a.board === b.board) { return a.named ? "" : "; the gain of the meter cancels, if these are one machine"; }
    if (a.gain === null || b.gain === null) { return ". By how much the meters themselves may be off is not known"; }
    if (!a.gain && !b.gain) { return ""; }
    var apart = found.low === null ? null : Math.min(Math.abs(found.low), Math.abs(found.high)) / 100;
    return ". On top, the two meters may each be off by " + number(a.gain * 100) + " % and " + number(b.gain * 100) + " %" +
      (!found.same && apart !== null && apart <= a.gain + b.gain ? ", which is enough to turn it round" : "");
  }

  function verdict(a, b) {
    var why = barrier(a, b), item = LJ.h("li"), unmeasured = UNMEASURED[a.source], by = unmeasured ? unmeasured[0] + ", " : "";
    if (why) {
      item.append("Against A, " + b.letter + " is not compared: " + why + ".");
      return item;
    }
    var found = difference(a, b), how = kinds(a, b), said = "Against A, " + by + b.letter;
    ["percent", "low", "high", "p"].forEach(function (name) { item.dataset[name] = found[name]; });
    if (found.same) {
      said += " is not told apart: the difference is " + percent(found, 1) + " of the energy per token" + how;
    } else {
      var less = found.percent < 0, size = percent(found, less ? -1 : 1);
      said += (unmeasured ? (less ? " is lower by " : " is higher by ") + size + " in" : " takes " + size + (less ? " less" : " more")) + " energy per token" + how;
      if (found.p === null) { said += "; " + single(a, b) + " has no interval, so this may be chance"; }
      if (found.parts && a.work && b.work) {
        said += "; of the difference, " + pm(found.parts.power, found.parts.powerHalf) + " J/token come from power and " +
          pm(found.parts.time, found.parts.timeHalf) + " J/token from time";
      }
    }
    said += gains(a, b, found);
    if (!a.work || !b.work) {
      said += ". The work is not known to be the same: not all records say how long prompts and answers are";
    } else if (a.work !== b.work) {
      said += ". The work is not the same: see what differs";
    }
    item.append(said + ".", LJ.h("span", { class: "note" }, " " + basis(a, b, found)));
    return item;
  }

  // What the figures are, where they are not measurements of our own.
  function kinds(a, b) {
    var published = [["A", a], [b.letter, b]].filter(function (side) { return side[1].published; }).map(first);
    var said = UNMEASURED[a.source] ? [UNMEASURED[a.source][1]] : [];
    if (published.length) { said.push(published.length < 2 ? published[0] + " is published" : "published"); }
    return said.length ? " (" + said.join(", ") + ")" : "";
  }

  // What a side without an interval has.
  function single(a, b) {
    return [a, b].some(function (row) { return row.used[0] === 1 && !row.used[2]; }) ? "one run" : "one published figure";
  }

  // What the interval rests on.
  function basis(a, b, found) {
    var used = found.used ? found.used.loads.map(function (loads) { return [found.used.runs, loads, 0]; }) : [a.used, b.used], over = restsOn(used, b.letter) + ".";
    if (found.p === null) { return "No interval: " + over; }
    if (found.looked) { return "The interval holds however often one looked, paired by load, since the sides took turns: " + over; }
    var sides = [["A", a], [b.letter, b]].filter(function (side) { return side[1].widened; }).map(first).join(" and ");
    var ended = sides ? " The scatter of " + sides + " counts " + (a.widened || b.widened) + " times, since repeats ended when they agreed." : "";
    var loads = used[0][1] + used[1][1] > 0, figures = used[0][2] + used[1][2] > 0;
    if (found.paired) { return "95 % interval, paired by " + (figures ? "figure" : "load") + ", since the sides took turns: " + over + ended; }
    var points = (loads ? [found.loads ? "loads" : "runs"] : []).concat(figures ? ["figures"] : []).join(" and ");
    return "95 % interval over " + points + " (Welch, cautious where few; Fieller): " + over +
      (found.loads ? "" : " What differs from load to load is not in it.") + ended;
  }

  // How much the two sides rest on, by runs, known loads, and figures without one. reports.py says the same.
  function restsOn(used, letter) {
    var unknown = "of whose processes nothing is known";
    function both(place) { return used[0][place] + " and " + used[1][place]; }
    if (!(used[0][2] + used[1][2])) { return both(0) + " runs in " + both(1) + " loads"; }
    if (!(used[0][1] + used[1][1])) { return both(2) + " published figures, " + unknown; }
    return used.map(function (side, place) {
      var said = side[1] ? [count(side[0], "run") + " in " + count(side[1], "load")] : [];
      return (place ? letter : "A") + " " + said.concat(side[2] ? [count(side[2], "published figure") + ", " + unknown] : []).join(" and ");
    }).join("; ");
  }

  function count(number, noun) { return number + " " + noun + (number === 1 ? "" : "s"); }

  // ---- page ---------------------------------------------------------------------------------------------------------

  function tableOf(caption, heads, rows) {
    return LJ.h("section", { class: "scroll", tabindex: 0, "aria-label": caption }, LJ.h("table", { class: "plain" },
      LJ.h("caption", { class: "unseen" }, caption),
      LJ.h("thead", {}, LJ.h("tr", {}, heads.map(function (text) { return LJ.h(text ? "th" : "td", text ? { scope: "col" } : {}, text); }))),
      LJ.h("tbody", {}, rows.map(function (cells) {
        return LJ.h("tr", {}, LJ.h("th", { scope: "row" }, cells[0]), cells.slice(1).map(function (cell) { return LJ.h("td", {}, cell); }));
      }))));
  }

  // Lines of the table: what is not the same within a row, settings, then versions and power limits by the names of records.
  function differences(rows) {
    var settings = rows.map(function (row) { return new Map(Object.entries(row.facts)); });
    var versions = rows.map(function (row) { return new Map(row.versions.map(function (one) { return [one[0], one.slice(1)]; })); });
    function namesIn(maps) { return Array.from(new Set(maps.flatMap(function (map) { return Array.from(map.keys()); }))); }
    function lines(names, words) {
      return names.map(function (name) { return [name].concat(rows.map(function (_, place) { return words(name, place); })); });
    }
    function differ(line) { return new Set(line.slice(1)).size > 1; }
    function said(name, place) { return (versions[place].get(name) || ["not said"]).join(", "); }
    var names = namesIn(versions).sort();
    var pooled = names.filter(function (name) { return versions.some(function (map) { return map.has(name) && map.get(name).length > 1; }); });
    var others = names.filter(function (name) { return pooled.indexOf(name) < 0; });
    return lines(pooled, said).concat(
      lines(namesIn(settings), function (name, place) { return settings[place].get(name) || "\u2013"; }).filter(differ), lines(others, said).filter(differ));
  }

  function show() {
    var rows = chosen.map(function (key) { return byKey.get(key); }).filter(Boolean);
    rows.forEach(function (row, place) { row.letter = String.fromCharCode(65 + place); });
    out.replaceChildren(LJ.h("ul", { class: "chips" }, rows.map(function (row) {
      var button = LJ.h("button", { type: "button", "aria-label": "Remove " + row.letter + ", " + row.name.trim() }, "Remove");
      button.addEventListener("click", function () { select(chosen.filter(function (key) { return key !== row.key; })); });
      return LJ.h("li", {}, LJ.h("strong", {}, row.letter), " ", LJ.h("a", { href: box.dataset.root + row.page }, row.name.trim()), button);
    })));
    if (rows.length < 2) {
      says.textContent = rows.length ? "Pick a second setting." : "Pick two settings or more, of " + list.length + ".";
      return;
    }
    says.textContent = "";
    var differing = differences(rows), letters = [""].concat(rows.map(function (row) { return row.letter; }));
    function line(name, words) { return [name].concat(rows.map(words)); }
    out.append(LJ.h("h2", {}, differing.length ? "What differs" : "Nothing differs in what was asked for"));
    if (differing.length) {
      out.append(tableOf("What differs", letters, differing));
    }
    out.append(LJ.h("h2", {}, "Difference"), LJ.h("ul", { class: "findings" }, rows.slice(1).map(function (row) { return verdict(rows[0], row); })));
    var figures = [["J/token", "token"], ["tokens/s", "speed"], ["J per run", "joules"], ["Implied W", "power"]].map(function (figure) {
      return line(figure[0], function (row) { var value = row[figure[1]]; return value ? pm(value.mean, value.half) : "\u2013"; });
    });
    out.append(LJ.h("h2", {}, "Figures"), tableOf("Figures", letters, figures.concat([
      line("Scope", function (row) { return [row.component, row.source, row.published ? "published" : "", row.scope].filter(Boolean).join(", "); }),
      line("Gain", function (row) { return row.gain === null ? "not known" : "\u00b1 " + number(row.gain * 100) + " %"; }),
      line("Runs / loads", function (row) { return row.loads || !row.published ? row.runs + " / " + (row.loads || "\u2013") : count(row.runs, "published figure"); })
    ])));
    out.append(LJ.h("p", { class: "footnote" }, "\u00b1 are 95 % intervals. The interval of a difference leaves out zero exactly where the two are " +
      "told apart: the same figures as of ", LJ.h("code", {}, "llmjoules compare"), "."));
  }

  function select(keys) {
    chosen = keys.slice(0, 26);
    history.pushState(null, "", location.pathname + location.search + (chosen.length ? "#" + VERSION + ";s=" + chosen.join(",") : ""));
    show();
  }

  function restore() {
    var words = location.hash.slice(1).split(";"), found = words[0] === VERSION && words.find(function (word) { return word.indexOf("s=") === 0; });
    chosen = found ? found.slice(2).split(",").filter(function (key, place, all) { return byKey.has(key) && all.indexOf(key) === place; }) : [];
    show();
  }

  function add() {
    var row = byName.get(pick.value) || byName.get(pick.value.trim());
    if (!row) { says.textContent = "No setting of that name: take one from the list."; return; }
    pick.value = "";
    if (chosen.indexOf(row.key) < 0) { select(chosen.concat(row.key)); }
  }

  box.querySelector("[data-add]").addEventListener("click", add);
  pick.addEventListener("keydown", function (event) { if (event.key === "Enter" && pick.value) { add(); } });
  pick.addEventListener("change", function () { if (byName.has(pick.value)) { add(); } });
  addEventListener("popstate", restore);
  addEventListener("hashchange", restore);
  var script = document.createElement("script");
  script.src = box.dataset.source;
  script.onerror = function () { says.textContent = "The figures could not be loaded."; };
  document.head.appendChild(script);
})();
