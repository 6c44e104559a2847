"""Texts on which our YAML reader and PyYAML are compared, beside those that hypothesis finds."""

from __future__ import annotations

# A tab is written "→", a space at the end of a line "␣".
#
# What a scalar can look like. Each stands alone, and inside of other things.
_SCALARS = r"""
yes
no
on
off
y
n
Y
N
Yes
NO
oN
true
TRUE
tRue
null
Null
NULL
nULL
~
0
-0
+0
00
07
08
010
-010
0o10
0b101
0b
0b_
-0b11
0x1F
0x
0xg
+0x1f
1_000
_1
1__0
1_
0_7
0_
1:30
1:60
01:30
-1:30
1:30:59
190:20:30
1:30.5
1:30.
1:59:59.9
0:30
1e3
1e+3
1.e+3
1.0e3
1.0e+3
1.
.5
-.5
+.5
._5
5._5
1_0.5_0
.inf
-.inf
+.Inf
.INF
.nan
.NaN
-.nan
.NAN
inf
nan
1.2.3
12345678901234567890
-12345678901234567890
9223372036854775807
9223372036854775808
-9223372036854775808
-9223372036854775809
0xffffffffffffffffffff
99999999999:30
123456789012345678901:30:30
2001-01-01
2001-1-1
2001-13-01
2001-02-29
2000-02-29
1900-02-29
0000-01-01
2001-12-14t21:59:43.10-05:00
2001-12-14 21:59:43.10 -5
2001-12-15 2:59:43.10
2001-12-15T02:59:43.1Z
2001-12-15T02:59:43.123456789
2001-12-15 24:00:00
2001-12-15 23:60:00
2001-12-15 23:59:60
2001-12-15 23:59:59+24:00
2001-12-15 23:59:59+23:99
2001-12-15 23:59:59+2
2001-12-15 23:59:59+02:00
2001-12-15 23:59:59-00:30
2001-12-15 23:59:59.
2001-12-15  23:59:59  Z
2001-12-15 1:2:3
2001-12-15 23:59:59 +1:00
<<
=
!!int 5
!!int "5"
!!int " 5 "
!!int "0o17"
!!int "0b0b1"
!!int "0x0x1"
!!int "+-5"
!!int "--5"
!!int ""
!!int "-"
!!int "a"
!!int "1:30"
!!int "1:-5"
!!int "-1:30"
!!int "1:99"
!!int "0_"
!!int "٣"
!!float "1"
!!float "1e5"
!!float "infinity"
!!float "nan"
!!float " 1 "
!!float ""
!!float "1:30"
!!float "1:30:30.5"
!!float "x"
!!float "1__0"
!!float "-.nan"
!!float ".e5"
!!bool "YES"
!!bool "y"
!!bool ""
!!null "x"
!!null ""
!!null []
!!str 5
!!str [a]
!!str {=: x}
!!int {=: 5}
!!int {a: 5}
!!str {=: {=: q}}
!!timestamp {=: 2001-01-01}
!!timestamp "2001-1-1"
!!timestamp "x"
!!binary "YWJj"
!!binary "YWJ"
!!binary "YW=="
!!binary "Y"
!!binary "YW=Jj"
!!binary "YWJj=="
!!binary "YW==YWJj"
!!binary "====YW=="
!!binary "Y W\nJj"
!!binary "é"
!!binary ""
!!python/bytes "YWJj"
!!python/none x
!!python/bool "on"
!!python/int 5
!!python/long 5
!!python/float 5
!!python/str 5
!!python/unicode 5
!!python/list [1]
!!python/dict {a: 1}
!!python/tuple [1, 2]
!!python/tuple {a: 1}
!!python/tuple x
!!python/complex 1+2j
!!python/complex "(1+2j)"
!!python/complex "( 1+2j )"
!!python/complex j
!!python/complex -j
!!python/complex +J
!!python/complex 1
!!python/complex 1-j
!!python/complex 1+
!!python/complex "1 +2j"
!!python/complex nan+infj
!!python/complex -inf-nanj
!!python/complex 1_0j
!!python/complex 1__0j
!!python/complex 1e5+1e-5j
!!python/complex ""
!!python/complex "1e"
!!python/complex 2j3
!!python/complex .5j
!!python/complex infinityj
!!python/name:os.system
!!python/name:int
!!python/module:os
!!python/object:a.b {}
!!python/object/apply:os.system [x]
!!python/object/new:a []
!foo x
!foo [x]
!foo {a: b}
!<tag:yaml.org,2002:int> 5
!<tag:yaml.org,2002:str> 5
!e!x 5
! 5
! "5"
0.0
-0.0
1e400
1.0e+400
1.0e-400
0.1
123456789.123456789
+1
+1.5
00.5
0_0
1:2:3:4
59:59
0x_1
0b_1
+0b1
0777
0888
089
1.5e5
1.5E+5
6.02e+23
-1.e-3
0o7
1,000
1 000
$1
1%
50%
#x
a#b
a:
a:b
-a
--a
-␣
--
---a
...a
.
..
.a
_
__
a_b
yes no
Yes.
"yes"
'no'
"null"
''
""
"a\tb"
"\x00"
"\u0085"
"\N\_\L\P"
"\e\a\b\v\f\r\n\t\0"
"\
"
"a\"b"
'a"b'
"a'b"
'\n'
C:\path
C:/path
~/file
~x
*
&
!
%
@
`
|
>
?
:
-
,
[
]
{
}
<
<<<
==
2001-01-01 00:00
2001-01-01T00:00:00
2001-01-01t1:02:03
2001-01-01 00:00:00.5
2001-01-01 00:00:00Z
2001-01-01 00:00:00 -0
20010101
2001-001
01-01-2001
12:30
12:30:45
12:30:45.5
24:00
1:5
1:05
00:00
08:30
09:00
07:30
:30
1:
true,
on off
No
é
日本
😀
a b  c
"""

# Whole documents, separated by lines of "====".
_DOCUMENTS = r"""
a: |
  x
====
a: |+
  x

====
a: |-
  x
====
a: |
  x
====
a: >
  x
  y

  z
====
a: >-
  x
   y
  z
====
a: |2
    x
   y
====
a: |1
x
====
a: |1
 x
  y
z: 1
====
a: |0
  x
====
a: |10
  x
====
a: |2-
    x
====
a: |-2
    x
====
a: |++
  x
====
a: | # c
  x
====
a: |#c
  x
====
a: |-#c
  x
====
a: |x
  x
====
a: |

  x
====
a: |
␣␣␣␣
  x
====
a: |
 x
  y
z: 1
====
a: >
 x

  y

 z
====
- |
 x
- >
 y
====
- >+

 x


====
a: |→
  x
====
a: |
  x→y
→
====
--- |
x
====
--- >
 a
 b


 c
====
? |
  key
: >
  value
====
[|
 x]
====
!!str |
  x
====
&a |
  x
====
!!binary |
  YWJj
  YWJj
====
a: |
  x
 # not a comment's place
b: 1
====
a: |
  # in the text
  x
# outside
b: 1
====
a: >

  b


  c
====
a: |
 →tab after the indentation of a line of text
 x
====
a: |+
====
a: |

====
a: |
b: 1
====
!!set {a, b}
====
!!set [a]
====
!!set {[a]: b}
====
!!omap [a: 1, b: 2]
====
!!omap [a: 1, a: 2]
====
!!omap {a: 1}
====
!!omap [{a: 1, b: 2}]
====
!!omap [a]
====
!!omap []
====
!!pairs [a: 1, a: 2]
====
!!pairs [[a, b]]
====
!!seq {a: 1}
====
!!seq x
====
!!map [a]
====
!!map x
====
!!seq [a]
====
{[a]: b}
====
{{a: b}: c}
====
{!!python/tuple [a]: b}
====
{!!python/tuple [[a]]: b}
====
{!!python/tuple [!!python/tuple [1]]: b}
====
{1: a, true: b, 1.0: c}
====
{a: 1, a: 2}
====
{~: 1, null: 2}
====
{.nan: 1, .nan: 2}
====
{2001-01-01: x}
====
{a}
====
{a, b: c}
====
[a: b]
====
[a: b, c]
====
[a, , b]
====
[,]
====
[a,]
====
{a: b,}
====
{,}
====
{a:}
====
{a: , b: }
====
{"a":1}
====
{a:1}
====
{"a":"b"}
====
[a]: b
====
[a, b
====
{a: b
====
"a
====
'a
====
"\x41\u00e9\U0001F600"
====
"\ud83d"
====
"\U00110000"
====
"\q"
====
"\'"
====
"\/"
====
"\ "
====
"a\
  b"
====
'a''b'
====
'a
 b'
====
"a

  b"
====
a
 b
====
a

 b
====
a # c
====
a #c
====
a#c
====
# c
====

====
␣␣␣
====
---
====
--- a
====
--- a
...
====
--- a
--- b
====
a
...
b
====
a
...

====
---␣
...
====
...
====
%YAML 1.1
--- a
====
%YAML 1.2
--- a
====
%YAML 1.9
--- a
====
%YAML 2.0
--- a
====
%YAML 1.1
%YAML 1.1
--- a
====
%TAG ! tag:yaml.org,2002:
--- !int "5"
====
%TAG !y! tag:yaml.org,2002:
--- !y!int "5"
====
%TAG !y! a
%TAG !y! b
--- x
====
%FOO bar
--- a
====
%YAML 1.1
a
====
&a a
====
&a [*a]
====
&a {x: *a}
====
&a {*a : 1}
====
&a !!set {x}
====
&a !!python/tuple [*a]
====
&a !!python/tuple [[*a]]
====
&a !!omap [x: *a]
====
[&a 1, *a]
====
[&a x, &a y]
====
[*a]
====
*a
====
[&a [1], *a, *a]
====
{a: &x {b: 1}, c: *x}
====
&a-b_1 x
====
&a.b x
====
&é x
====
[&a , *a]
====
{&a a: *a}
====
{<<: {a: 1}, b: 2}
====
{<<: {a: 1}, a: 2}
====
{a: 2, <<: {a: 1}}
====
{<<: [{a: 1}, {a: 2, b: 3}]}
====
{<<: [{a: 1}, [b]]}
====
{<<: 1}
====
{<<: }
====
{<<: []}
====
{<<: {}}
====
{<<: {<<: {a: 1}}}
====
{<<: {a: 1}, <<: {b: 2}}
====
{"<<": {a: 1}}
====
{!!merge x: {a: 1}}
====
{<<: !foo {a: 1}}
====
{<<: !!set {a}}
====
&a {<<: *a, b: 1}
====
&a {<<: [*a, *a], b: 1}
====
[&s [{a: 1}], {<<: *s}]
====
[{<<: &s [{a: 1}]}, *s]
====
[&m {a: 1}, &n {<<: *m, b: 2}, {<<: *n, c: 3}]
====
[[&m {a: 1}], {<<: *m}]
====
[[[&m {a: 1}]], {<<: *m}]
====
!!set {<<: {a: 1}}
====
[&s !!set {a}, {<<: *s}]
====
!!omap [{<<: {a: 1}}]
====
{=: 1}
====
{=: 1, a: 2}
====
[&k =]
====
{&k =: 1, b: *k}
====
a: b: c
====
a:
  b: c
 d: e
====
a:
- b
- c
====
a:
  - b
 - c
====
- a
 b
====
- - a
  - b
====
-a
====
-
====
? a
: b
====
? a
====
?␣
====
?
====
? - a
: b
====
? [a]
: b
====
: a
====
a:b
====
a : b
====
a :
====
"a": b
====
"a":b
====
'a' : b
====
a: "b" c
====
a: 'b'c
====
- "a" b
====
a: b
c
====
a: >-
  x
   y
  z
====
a: >
 x

  y

 z

====
- >+

 x


====
a:→b
====
→a: b
====
a: b→
====
a: b→# c
====
a→b
====
a: "b→c"
====
a:
→b: c
====
- →a
====
[a,→b]
====
"a
→b"
====
@a
====
`a
====
%a
====
a%
====
a@
====
"a" : b
====
a, b
====
a]
====
a}
====
]
====
}
====
,
====
{a: b}}
====
[a]]
====
[[a]
====
[a}
====
{a]
====
!
====
!!
====
!!int
====
!a
====
&
====
*
====
&a
====
a: !
b: 1
====
a: &x
b: *x
====
a: !!str
b: !!null
====
? !!str
: x
====
!!str : x
====
a: *b
====
- ?x
====
- :x
====
- -x
====
[?x]
====
[-x]
====
[:x]
====
[::x]
====
[a:b]
====
[a::b]
====
[a:,b]
====
{a:b: c}
====
{?a: b}
====
{? a: b}
====
{? a : b, c}
====
[? a : b]
====
a: [
b]
====
a: [
b
]
====
a: {
b: c
}
====
a: "b
c"
====
a: 'b

c'
====
a: b
 c: d
====
a
b: c
====
"a
b": c
====
[a
b: c]
====
{a
b: c}
====
a?b
====
a?: b
====
? a? : b
====
http://x/y?z
====
a: http://x:80/?q
====
C:\x
====
"C:\\x"
====
'C:\x'
====
a: b#c
====
a: "b"#c
====
[a]#c
====
[a] #c
====
a: &x b
c: *x
====
a: - b
====
a: ? b
====
- a: b
  c: d
- e
====
- a: b
 c: d
====
a: b
- c
====
- a
b: c
====

a
====
  a: b
c: d
====
  a
====
a: b␣␣
====
'
====
"
====
''
====
""
====
a: ''
====
a: ""
====
"": a
====
'': a
====
? ''
: a
====
x: [1, 2
y: 3
====
x: "a
y: 3
====
é
====
日本: 語
====
"\u65e5"
====
a: 1 # é
"""

_CONTEXTS = (
    "{}",
    "- {}",
    "k: {}",
    "{}: v",
    "[{}]",
    "[a, {}, b]",
    "{{k: {}}}",
    "{{{}: v, w}}",
    "? {}",
    "--- {}\n...\n",
    "{}\n\n# a comment\n",
    "k:\n  - {} # a comment\n  - x\n",
    "- {}\n  continued",
)


def documents() -> list[str]:
    """Return every text of the corpus: each scalar in each context, and the whole documents."""
    visible = str.maketrans("→␣", "\t ")
    scalars = _SCALARS.translate(visible).strip("\n").split("\n")
    wholes = _DOCUMENTS.translate(visible).removeprefix("\n").removesuffix("\n").split("\n====\n")
    placed = [context.format(scalar) for scalar in scalars for context in _CONTEXTS]
    return list(dict.fromkeys([*placed, *wholes, *(whole + "\n" for whole in wholes)]))
