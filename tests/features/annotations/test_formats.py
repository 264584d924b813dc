"""Variants of label files as programs and people write them: the content, and the boxes or the error."""

import os
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from features.annotations import label_file
from features.annotations.boxes import COLUMNS, AnnotationError
from features.annotations.formats import FORMATS, read_labels
from features.annotations.label_file import read_label_file

AUDACITY, BIRDNET, RAVEN, KALEIDOSCOPE, SPREADSHEET = (known.name for known in FORMATS)
VALUES = ("recording", "species", "t_min", "t_max", "f_min", "f_max", "verified")


class Variant(NamedTuple):
    """A label file, and its boxes or the error message. A box is the text of its `VALUES`; "-" is nan."""

    name: str
    content: str | bytes
    expected: dict[int, str] | str


def tabs(text: str) -> str:
    """Return a table that is written with " | " between fields as tab-separated text."""
    return (
        "\n".join("\t".join(field.strip() for field in row.split(" | ")) for row in text.splitlines()) + "\n"
    )


R = "Selection | View | Channel | Begin Time (s) | End Time (s) | Low Freq (Hz) | High Freq (Hz)"
ROW = "1 | Spectrogram 1 | 1 | 0.5 | 2.0 | 500.0 | 900.0"
OWL = {2: " owl 0.5 2 500 900 yes"}
UNREVIEWED = {2: " owl 0.5 2 500 900 "}

RAVEN_VARIANTS = [
    Variant("column Species", tabs(f"{R} | Species\n{ROW} | owl"), OWL),
    Variant("column annotation in lower case", tabs(f"{R} | annotation\n{ROW} | owl"), OWL),
    Variant("column Label", tabs(f"{R} | Label\n{ROW} | owl"), OWL),
    Variant("column Code", tabs(f"{R} | CODE\n{ROW} | owl"), OWL),
    Variant("column Common Name", tabs(f"{R} | Common Name\n{ROW} | owl"), OWL),
    Variant("Species is preferred to Code", tabs(f"{R} | Code | Species\n{ROW} | OWL1 | owl"), OWL),
    Variant("header only", tabs(f"{R} | Species"), {}),
    Variant(
        "Verified in another case, with ? and blank",
        tabs(f"{R} | species | VERIFIED\n{ROW} | owl | Yes\n{ROW} | frog | N\n{ROW} | a | ?\n{ROW} | b | "),
        {
            2: " owl 0.5 2 500 900 yes",
            3: " frog 0.5 2 500 900 no",
            4: " a 0.5 2 500 900 ",
            5: " b 0.5 2 500 900 ",
        },
    ),
    Variant("scores of a detector", tabs(f"{R} | Species | Score\n{ROW} | owl | 0.9"), UNREVIEWED),
    Variant(
        "selection in waveform and spectrogram view",
        tabs(f"{R} | Species\n1 | Waveform 1 | 1 | 0.5 | 2.0 | 0 | 8000 | owl\n{ROW} | owl"),
        {3: " owl 0.5 2 500 900 yes"},
    ),
    Variant(
        "selection in two spectrogram views",
        tabs(f"{R} | Species\n{ROW} | owl\n1 | Spectrogram 2 | 1 | 0.5 | 2.0 | 500 | 900 | owl"),
        OWL,
    ),
    Variant(
        "selection of two views with different verdicts",
        tabs(
            f"{R} | Species | Verified\n{ROW} | owl | yes\n"
            f"1 | Spectrogram 2 | 1 | 0.5 | 2.0 | 500 | 900 | owl | no"
        ),
        {2: " owl 0.5 2 500 900 yes", 3: " owl 0.5 2 500 900 no"},
    ),
    Variant(
        "same selection number, other times (two tables pasted together)",
        tabs(f"{R} | Species\n{ROW} | owl\n1 | Spectrogram 1 | 1 | 3 | 4 | 500 | 900 | owl"),
        {2: " owl 0.5 2 500 900 yes", 3: " owl 3 4 500 900 yes"},
    ),
    Variant(
        "selection in a waveform view only",
        tabs(
            f"{R} | Species\n1 | Waveform 1 | 1 | 0.5 | 2.0 | 0 | 8000 | owl\n"
            f"2 | Waveform 1 | 1 | 3 | 4 |  |  | owl\n3 | Waveform 1 | 1 | 5 | 6 | 500 | 900 | owl"
        ),
        {2: " owl 0.5 2 - - yes", 3: " owl 3 4 - - yes", 4: " owl 5 6 500 900 yes"},
    ),
    Variant(
        "Begin Path is preferred to Begin File",
        tabs(f"{R} | Begin File | Begin Path | Species\n{ROW} | a.wav | D:\\x\\a.wav | owl"),
        {2: "D:\\x\\a.wav owl 0.5 2 500 900 yes"},
    ),
    Variant(
        "combined table with offsets",
        tabs(
            f"{R} | Species | Begin File | File Offset (s)\n{ROW} | owl | a.wav | 0.5\n"
            f"2 | Spectrogram 1 | 1 | 3600.2 | 3600.9 | 500 | 900 | owl | b.wav | 0.2"
        ),
        {2: "a.wav owl 0.5 2 500 900 yes", 3: "b.wav owl 0.2 0.9 500 900 yes"},
    ),
    Variant(
        "combined table without offsets",
        tabs(f"{R} | Species | Begin File\n{ROW} | owl | a.wav\n{ROW} | owl | b.wav"),
        r"labels\.txt: selections of 2 audio files, but no column 'File Offset \(s\)'",
    ),
    Variant(
        "comma-separated, with quotes",
        f'{R} | Species\n{ROW} | "owl, barn"'.replace(" | ", ","),
        {2: " owl,_barn 0.5 2 500 900 yes"},
    ),
    Variant(
        "decimal commas, CRLF",
        tabs(f"{R} | Species\n{ROW} | owl").replace(".", ",").replace("\n", "\r\n"),
        OWL,
    ),
    Variant(
        "UTF-8 with byte order mark",
        tabs(f"{R} | Species\n{ROW} | búho").encode("utf-8-sig"),
        {2: " búho 0.5 2 500 900 yes"},
    ),
    Variant("UTF-16", tabs(f"{R} | Species\n{ROW} | búho").encode("utf-16"), {2: " búho 0.5 2 500 900 yes"}),
    Variant(
        "Latin-1", tabs(f"{R} | Species\n{ROW} | búho").encode("latin-1"), {2: " búho 0.5 2 500 900 yes"}
    ),
    Variant(
        "quotation marks that seem to close",
        tabs(f'{R} | Species\n{ROW} | "owl\n{ROW} | frog"'),
        {2: ' "owl 0.5 2 500 900 yes', 3: ' frog" 0.5 2 500 900 yes'},
    ),
    Variant(
        "quotation mark in a label",
        tabs(f'{R} | Species\n{ROW} | "owl\n{ROW} | "frog'),
        {2: ' "owl 0.5 2 500 900 yes', 3: ' "frog 0.5 2 500 900 yes'},
    ),
    Variant(
        "no frequency columns",
        tabs("Selection | View | Begin Time (s) | End Time (s) | Species\n1 | Spectrogram 1 | 0.5 | 2 | owl"),
        {2: " owl 0.5 2 - - yes"},
    ),
    Variant(
        "no label column", tabs(f"{R}\n{ROW}"), r"labels\.txt: missing column 'Species' or 'Annotation' or"
    ),
    Variant(
        "no end times",
        tabs("Selection | View | Begin Time (s) | Species\n1 | Spectrogram 1 | 0 | owl"),
        r"missing column 'End Time \(s\)'",
    ),
    Variant(
        "row without label", tabs(f"{R} | Species\n{ROW} | owl\n{ROW} | "), r"labels\.txt line 3: no species"
    ),
    Variant(
        "unknown verdict",
        tabs(f"{R} | Species | Verified\n{ROW} | owl | maybe"),
        r"labels\.txt line 2: Verified 'maybe' is not a verdict; write 'yes'",
    ),
    Variant(
        "time that is no number",
        tabs(f"{R} | Species\n{ROW} | owl").replace("0.5", "0:05"),
        r"labels\.txt line 2: Begin Time \(s\) '0:05' is not a number",
    ),
    Variant(
        "end before start",
        tabs(f"{R} | Species\n{ROW} | owl").replace("2.0", "0.1"),
        r"line 2: t_max 0\.1 is not above t_min 0\.5",
    ),
    Variant(
        "human confidence in words",
        tabs(f"{R} | Species | Confidence\n{ROW} | owl | high"),
        r"line 2: Confidence 'high' is not a number",
    ),
]

SCORE_COLUMNS = (
    *("Confidence Score", "Confidence (%)", "conf", "prob", "max_confidence", "score_1", "logit"),
    *("Detection Score", "classificationProbability", "CONFIDENCE [0-1]"),
)
VERDICT_COLUMNS = (
    *("Verified?", "verification", "Is Correct", "isVerified", "Review", "Validation", "Valid (yes/no)"),
    *("manually_reviewed", "Verdict 2"),
)
TEXT_COLUMNS = (
    *(
        "Review notes",
        "comments on validation",
        "Reviewer",
        "Verified by",
        "validation_date",
        "REVIEW USERID",
    ),
    *("min_conf", "Score threshold", "Corrections", "Sconfine"),
)
RAVEN_VARIANTS += [
    *(
        Variant(f"score in column {name}", tabs(f"{R} | Species | {name}\n{ROW} | owl | 0.9"), UNREVIEWED)
        for name in SCORE_COLUMNS
    ),
    *(
        Variant(
            f"verdict in column {name}",
            tabs(f"{R} | Species | {name}\n{ROW} | owl | FP\n{ROW} | frog | yes\n{ROW} | bat | "),
            {2: " owl 0.5 2 500 900 no", 3: " frog 0.5 2 500 900 yes", 4: " bat 0.5 2 500 900 "},
        )
        for name in VERDICT_COLUMNS
    ),
    *(
        Variant(f"other text in column {name}", tabs(f"{R} | Species | {name}\n{ROW} | owl | Ann"), OWL)
        for name in TEXT_COLUMNS
    ),
    Variant(
        "two columns of verdicts",
        tabs(f"{R} | Species | Reviewed | Is Correct\n{ROW} | owl | yes | no"),
        r"labels\.txt: the verdict can be in column 'Reviewed' or 'Is Correct'; keep or rename one",
    ),
    Variant(
        "two columns of scores",
        tabs(f"{R} | Species | Score 1 | Score 2\n{ROW} | owl | 0.9 | 0.1"),
        r"labels\.txt: the score can be in column 'Score 1' or 'Score 2'; keep or rename one",
    ),
]

B = f"{R} | Common Name | Species Code | Confidence | Begin Path | File Offset (s)"
BIRDNET_VARIANTS = [
    Variant(
        "selection table",
        tabs(f"{B}\n1 | Spectrogram 1 | 1 | 3.0 | 6.0 | 0 | 15000 | owl | own | 0.9 | /d/a.wav | 3.0"),
        {2: "/d/a.wav owl 3 6 - - "},
    ),
    Variant(
        "selection table, reviewed; one band corrected in Raven",
        tabs(
            f"{B} | Verified\n"
            f"1 | Spectrogram 1 | 1 | 3.0 | 6.0 | 150 | 12000 | owl | own | 0.9 | a.wav | 3.0 | yes\n"
            f"2 | Spectrogram 1 | 1 | 63.0 | 65.0 | 500 | 900 | owl | own | 0.8 | b.wav | 3.0 | no"
        ),
        {2: "a.wav owl 3 6 - - yes", 3: "b.wav owl 3 5 500 900 no"},
    ),
    Variant(
        "selection table with one filter band in all rows",
        tabs(
            f"{B} | Verified\n1 | Spectrogram 1 | 1 | 3 | 6 | 150 | 12000 | owl | own | 0.9 | a.wav | 3 | y\n"
            f"2 | Spectrogram 1 | 1 | 6 | 9 | 150 | 12000 | owl | own | 0.8 | a.wav | 6 | y"
        ),
        {2: "a.wav owl 3 6 - - yes", 3: "a.wav owl 6 9 - - yes"},
    ),
    Variant(
        "combined CSV",
        "Start (s),End (s),Scientific name,Common name,Confidence,File\n"
        "3.0,6.0,Strix aluco,owl,0.91,d/a.wav\n",
        {2: "d/a.wav owl 3 6 - - "},
    ),
    Variant(
        "CSV of one recording, reviewed",
        "Start (s),End (s),Scientific name,Common name,Confidence,verified\n"
        "3.0,6.0,Strix aluco,owl,0.91,yes\n",
        {2: " owl 3 6 - - yes"},
    ),
    Variant(
        "CSV for R",
        "filepath,start,end,scientific_name,common_name,confidence,lat,lon,week,overlap,sensitivity,min_conf,"
        "species_list,model\nd/a.wav,3.0,6.0,Strix aluco,owl,0.91,-1,-1,-1,0.0,1.0,0.1,,V2.4.tflite\n",
        {2: "d/a.wav owl 3 6 - - "},
    ),
    Variant(
        "CSV for Kaleidoscope",
        "INDIR,FOLDER,IN FILE,OFFSET,DURATION,scientific_name,common_name,confidence,lat,lon,week,overlap,"
        "sensitivity\n/d,site1,a.wav,3.0,3.0,Strix aluco,owl,0.91,-1,-1,-1,0.0,1.0\n",
        {2: "/d/site1/a.wav owl 3 6 - - "},
    ),
    Variant(
        "nothing found",
        tabs(f"{B}\n1 | Spectrogram 1 | 1 | 0 | 3 | 0 | 15000 | nocall | nocall | 1 | a.wav | 0"),
        {2: "a.wav nocall 0 3 - - "},
    ),
]

AUDACITY_VARIANTS = [
    Variant("with frequencies", "0.5\t2.0\towl\n\\\t500\t900\n", {1: " owl 0.5 2 500 900 yes"}),
    Variant(
        "without frequencies",
        "0.5\t2.0\towl\n3\t4\tfrog\n",
        {1: " owl 0.5 2 - - yes", 2: " frog 3 4 - - yes"},
    ),
    Variant(
        "mixed",
        "0.5\t2.0\towl\n\\\t500\t900\n3\t4\tfrog\n5\t6\towl\n\\\t1\t2\n",
        {1: " owl 0.5 2 500 900 yes", 3: " frog 3 4 - - yes", 4: " owl 5 6 1 2 yes"},
    ),
    Variant("one frequency undefined (-1)", "0.5\t2\towl\n\\\t-1\t900\n", {1: " owl 0.5 2 - - yes"}),
    Variant("time in scientific notation", "1e-05\t2.0\towl\n", {1: " owl 1e-05 2 - - yes"}),
    Variant("decimal commas and CRLF", "0,5\t2,0\towl\r\n", {1: " owl 0.5 2 - - yes"}),
    Variant("quotation marks", '0.5\t2.0\t"owl"\n', {1: ' "owl" 0.5 2 - - yes'}),
    Variant(
        "point label", "0.5\t2.0\towl\n3.0\t3.0\train\n", r"labels\.txt line 2: t_max 3 is not above t_min 3"
    ),
    Variant("label without text", "0.5\t2.0\t\n", r"labels\.txt line 1: no species"),
    Variant(
        "our labels",
        "0\t1\towl | songtype 4 | rejected\n\\\t5\t9\n1\t2\towl | score 0.9\n"
        "2\t3\towl | score 0.9 | confirmed\n",
        {1: " owl 0 1 5 9 no", 3: " owl 1 2 - - ", 4: " owl 2 3 - - yes"},
    ),
    Variant("confidence of BirdNET", "0.0\t3.0\tStrix aluco, owl\t0.77\n", {1: " owl 0 3 - - "}),
    Variant("comma in a label without confidence", "0\t3\towl, young\n", {1: " owl,_young 0 3 - - yes"}),
    Variant("empty track", "", {}),
    Variant(
        "frequencies without a label",
        "0\t1\towl\n\\\t5\t9\n\\\t5\t9\n",
        r"line 3: '\\\s5\s9' is neither a label",
    ),
    Variant(
        "line of text", "0\t1\towl\nsome notes\n", r"labels\.txt line 2: 'some notes' is neither a label"
    ),
]

CLUSTER = (
    "INDIR,FOLDER,IN FILE,CHANNEL,OFFSET,DURATION,Fmin,Fmean,Fmax,DATE,TIME,TOP1MATCH,TOP1DIST,MANUAL ID\n"
)
BATS = (
    "INDIR,OUTDIR,FOLDER,IN FILE,CHANNEL,OFFSET,DURATION,AUTO ID*,PULSES,Fc,Sc,Dur,Fmax,Fmin,Qual,MANUAL ID\n"
)
KALEIDOSCOPE_VARIANTS = [
    Variant("header only", CLUSTER, {}),
    Variant(
        "cluster.csv, one of two rows reviewed",
        CLUSTER
        + "D:\\s,site1,a.wav,0,3.5,1.5,2500,3000,3500,2024-01-01,05:00:00,owl,0.4,\n"
        + "D:\\s,site1,a.wav,0,9,2,2500,3000,3500,2024-01-01,05:00:00,owl,0.4,frog\n",
        {2: "D:\\s/site1/a.wav owl 3.5 5 2500 3500 ", 3: "D:\\s/site1/a.wav frog 9 11 2500 3500 yes"},
    ),
    Variant(
        "id.csv of bats, in kHz; a row without measures",
        BATS
        + "D:\\s,,,a.wav,0,0,4,MYOLUC,5,41.2,10,3,48.5,40.5,0.2,MYOLUC\n"
        + "D:\\s,,,b.wav,0,0,4,NoID,0,,,,,,,Noise\n",
        {2: "D:\\s/a.wav MYOLUC 0 4 40500 48500 yes", 3: "D:\\s/b.wav Noise 0 4 - - yes"},
    ),
    Variant(
        "id.csv with a column of verdicts",
        "IN FILE,OFFSET,DURATION,AUTO ID,REVIEW USERID,Validation\na.wav,0,4,owl,Ann,yes\na.wav,4,4,owl,,\n",
        {2: "a.wav owl 0 4 - - yes", 3: "a.wav owl 4 8 - - "},
    ),
    Variant(
        "meta.csv without frequencies and automatic label",
        "INDIR,FOLDER,IN FILE,OFFSET,DURATION,MANUAL ID\n/d,,a.wav,1,2,owl\n/d,,a.wav,3,2,\n",
        {2: "/d/a.wav owl 1 3 - - yes", 3: "/d/a.wav - 3 5 - - "},
    ),
    Variant(
        "decimal commas and semicolons",
        "INDIR;FOLDER;IN FILE;OFFSET;DURATION;Fmin;Fmax;MANUAL ID\n/d;;a.wav;1,5;2;500,5;900;owl\n",
        {2: "/d/a.wav owl 1.5 3.5 500.5 900 yes"},
    ),
    Variant(
        "frequencies that can be Hz or kHz",
        "FOLDER,IN FILE,OFFSET,DURATION,Fmin,Fmax,MANUAL ID\n,a.wav,1,2,20,40,owl\n",
        r"labels\.txt: no Fmax is above 40, which can be Hz or kHz; rename the columns",
    ),
    Variant(
        "frequencies with the unit in the header",
        "FOLDER,IN FILE,OFFSET,DURATION,Fmin (kHz),Fmax (kHz),MANUAL ID\n,a.wav,1,2,2,4.5,owl\n",
        {2: "a.wav owl 1 3 2000 4500 yes"},
    ),
    Variant(
        "no labels", "IN FILE,OFFSET,DURATION\na.wav,1,2\n", r"missing column 'MANUAL ID' or 'TOP1MATCH'"
    ),
]

DETECTIONS = "recording_id,site,time,species,t_min,t_max,f_min,f_max,score,threshold"
SPREADSHEET_VARIANTS = [
    Variant(
        "detections.csv",
        f"{DETECTIONS}\ns1/a,s1,2024-01-01T05:00:00,owl,0.5,2,500,900,0.9,0.4\n",
        {2: "s1/a owl 0.5 2 500 900 "},
    ),
    Variant(
        "detections.csv after review, with a call added by hand",
        f"{DETECTIONS},verified\na,,,owl,0.5,2,500,900,0.9,0.4,yes\na,,,owl,3,4,500,900,0.9,0.4,no\n"
        f"a,,,owl,5,6,500,900,0.9,0.4,?\na,,,owl,7,8,,,,,yes\n",
        {
            2: "a owl 0.5 2 500 900 yes",
            3: "a owl 3 4 500 900 no",
            4: "a owl 5 6 500 900 ",
            5: "a owl 7 8 - - yes",
        },
    ),
    Variant("header only", f"{DETECTIONS}\n", {}),
    Variant("plain table", "File,Start,End,Label\na.wav,0.5,2,owl\n", {2: "a.wav owl 0.5 2 - - yes"}),
    Variant(
        "other names and units",
        "FileName;Begin (s);Stop (s);Common Name;Low Freq (kHz);High Freq [kHz]\na.wav;0,5;2;owl;0,5;0,9\n",
        {2: "a.wav owl 0.5 2 500 900 yes"},
    ),
    Variant(
        "onset and offset in ms",
        "path,onset_ms,offset_ms,class\nd/a.wav,500,2000,owl\n",
        {2: "d/a.wav owl 0.5 2 - - yes"},
    ),
    Variant(
        "Unicode text of Excel",
        "Recording\tStart\tEnd\tSpecies\r\na\t0,5\t2\tbúho\r\n".encode("utf-16"),
        {2: "a búho 0.5 2 - - yes"},
    ),
    Variant(
        "CSV of Excel with sep= and empty rows",
        "sep=;\nfile;start;end;label\n;;;\na.wav;0,25;2;owl\n",
        {4: "a.wav owl 0.25 2 - - yes"},
    ),
    Variant(
        "line break in a quoted note",
        'file,start,end,label,notes\na,1,2,owl,"rain,\nwind"\na,3,4,owl,\n',
        {2: "a owl 1 2 - - yes", 4: "a owl 3 4 - - yes"},
    ),
    Variant("frequencies NA", "file,start,end,label,low,high\na,1,2,owl,NA,NA\n", {2: "a owl 1 2 - - yes"}),
    Variant(
        "thousands separators or decimal commas",
        "file;start;end;label;low;high\na;1;2;owl;1,200;2,500\n",
        r"line 2: low '1,200' may have a decimal comma or a thousands separator",
    ),
    Variant(
        "decimal points and commas",
        "file;start;end;label\na;1.5;2,5;owl\n",
        r"line 2: end '2,5' may have a decimal comma",
    ),
    Variant(
        "unquoted decimal commas",
        "file,start,end,label\na,1,5,2,5,owl\n",
        r"line 2: 6 fields, but the header",
    ),
    Variant("negative time", "file,start,end,label\na,-1,2,owl\n", r"line 2: t_min -1 is below 0"),
    Variant(
        "names of Raven without its columns",
        "File,Begin Time (s),End Time (s),Low Freq (Hz),High Freq (Hz),Species\na.wav,0.5,2,500,900,owl\n"
        "b.wav,0.5,2,500,900,owl\n",
        {2: "a.wav owl 0.5 2 500 900 yes", 3: "b.wav owl 0.5 2 500 900 yes"},
    ),
    Variant("missing time", "file,start,end,label\na,1,,owl\n", r"line 2: no t_max; add the time in seconds"),
    Variant(
        "song type in words",
        "file,start,end,label,songtype\na,1,2,owl,hoot\n",
        r"songtype 'hoot' is not a number",
    ),
    Variant(
        "two verdict columns",
        "file,start,end,label,Verified,verified\na,1,2,owl,yes,no\n",
        r"duplicate column 'verified'",
    ),
    Variant(
        "no species", "file,start,end\na,1,2\n", r"no column for the species \(found: file, start, end\)"
    ),
    Variant(
        "another table",
        "date,temperature\n2024-01-01,25\n",
        r"labels\.txt: not a label file \(first line: 'date",
    ),
    Variant("binary file", b"\x00\x01\x02\x81", r"labels\.txt: not a text file"),
]

VARIANTS = [
    (known, variant)
    for known, variants in (
        (RAVEN, RAVEN_VARIANTS),
        (BIRDNET, BIRDNET_VARIANTS),
        (AUDACITY, AUDACITY_VARIANTS),
        (KALEIDOSCOPE, KALEIDOSCOPE_VARIANTS),
        (SPREADSHEET, SPREADSHEET_VARIANTS),
    )
    for variant in variants
]


def described(boxes: pd.DataFrame) -> dict[int, str]:
    """Return boxes in the form of `Variant.expected`."""
    text = boxes[list(VALUES)].map(
        lambda v: ("-" if np.isnan(v) else f"{v:g}") if isinstance(v, float) else v
    )
    text["species"] = text["species"].str.replace(" ", "_").replace("", "-")
    return {line: " ".join(row) for line, row in zip(text.index, text.to_numpy(), strict=True)}


@pytest.mark.parametrize(("known", "variant"), VARIANTS, ids=[f"{k}: {v.name}" for k, v in VARIANTS])
def test_variant_is_read_or_rejected(tmp_path: Path, known: str, variant: Variant) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(variant.content if isinstance(variant.content, bytes) else variant.content.encode())
    if isinstance(variant.expected, str):
        with pytest.raises(AnnotationError) as raised:
            read_labels(path)
        assert re.search(variant.expected, str(raised.value))
        assert "\n" not in str(raised.value)
    else:
        name, boxes = read_labels(path)
        assert name == known
        assert list(boxes.columns) == list(COLUMNS)
        assert described(boxes) == variant.expected


def test_label_column_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text(tabs(f"{R} | Species | Call\n{ROW} | owl | hoot"))
    assert read_labels(path)[1]["species"].tolist() == ["owl"]
    assert read_labels(path, "call")[1]["species"].tolist() == ["hoot"]
    path.write_text(tabs(f"{R} | Species | Verified species\n{ROW} | owl | hoot"))
    assert read_labels(path, "Verified species")[1]["species"].tolist() == ["hoot"]
    path.write_text(tabs(f"{R} | Species | Call\n{ROW} | owl | hoot"))
    with pytest.raises(AnnotationError, match=r"labels\.txt: missing column 'Song' \(found: Selection"):
        read_labels(path, "Song")


def test_scores_and_song_types_are_read(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("file,start,end,label,Songtype,Confidence\na,1,2,owl,4,0.75\n")
    boxes = read_labels(path)[1]
    assert boxes[["songtype", "score"]].to_numpy().tolist() == [["4", 0.75]]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_pipe_is_rejected_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "labels.txt")
    with pytest.raises(AnnotationError, match=r"labels\.txt: not a regular file; move it elsewhere"):
        read_label_file(tmp_path / "labels.txt")


def test_file_that_is_too_large_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_file, "MAX_BYTES", 3)
    (tmp_path / "labels.txt").write_text("0\t1\towl\n")
    with pytest.raises(AnnotationError, match=r"labels\.txt: has more than"):
        read_label_file(tmp_path / "labels.txt")
