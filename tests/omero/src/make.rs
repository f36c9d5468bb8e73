//! Tiny test files in the formats the stand-in knows. Each is also a real file
//! of its format, so that other programs can open it.

use std::path::Path;

/// Makes `kind` at `path`; `seed` makes files differ.
pub fn run(kind: &str, path: &Path, series: usize, files: usize, seed: u64) -> Result<(), String> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|e| format!("{}: {e}", parent.display()))?;
    }
    let result = match kind {
        "tiff" => std::fs::write(path, tiff(seed, &marks(series))),
        "broken" => std::fs::write(path, [b"II*\0BROKEN-TIFF".as_slice(), &seed.to_le_bytes()].concat()),
        "png" => std::fs::write(path, [b"\x89PNG\r\n\x1a\n".as_slice(), &seed.to_le_bytes()].concat()),
        "companion" => companion(path, files, seed),
        "zarr" => zarr(path, files, seed),
        "plate" => plate(path, files),
        "ome-tiff" => ome_tiff(path, files, seed),
        "htd" => metaxpress(path, "TimePoint_1", files, seed),
        "htd-flat" => metaxpress(path, "", files, seed),
        "pattern" => pattern(path, files, seed),
        "fake" => std::fs::write(path, ""),
        _ => {
            return Err(format!(
                "{kind}: tiff, companion, ome-tiff, htd, htd-flat, pattern, zarr, plate, fake, broken or png"
            ));
        }
    };
    result.map_err(|e| format!("{}: {e}", path.display()))
}

fn marks(series: usize) -> String {
    if series > 1 { format!("STANDIN-SERIES={series}") } else { String::new() }
}

/// A grey 8x8 TIFF, little-endian, one strip, with an image description.
pub fn tiff(seed: u64, description: &str) -> Vec<u8> {
    const SIDE: u32 = 8;
    let mut text = description.as_bytes().to_vec();
    text.push(0);
    // Readers take more than one zero at the end for another text.
    let text_length = text.len().max(5) as u32;
    while text.len() < 5 || text.len() % 2 == 1 {
        text.push(0);
    }
    let pixels: Vec<u8> =
        (0..u64::from(SIDE * SIDE)).map(|i| (i.wrapping_mul(seed.wrapping_mul(7) + 3) % 251) as u8).collect();
    let entries: u16 = 10;
    let ifd_length = 2 + u32::from(entries) * 12 + 4;
    let text_at = 8 + ifd_length;
    let pixels_at = text_at + text.len() as u32;
    let mut out = b"II*\0\x08\0\0\0".to_vec();
    out.extend(entries.to_le_bytes());
    let mut field = |tag: u16, kind: u16, count: u32, value: u32| {
        out.extend(tag.to_le_bytes());
        out.extend(kind.to_le_bytes());
        out.extend(count.to_le_bytes());
        out.extend(value.to_le_bytes());
    };
    field(256, 4, 1, SIDE);
    field(257, 4, 1, SIDE);
    field(258, 3, 1, 8);
    field(259, 3, 1, 1);
    field(262, 3, 1, 1);
    field(270, 2, text_length, text_at);
    field(273, 4, 1, pixels_at);
    field(277, 3, 1, 1);
    field(278, 4, 1, SIDE);
    field(279, 4, 1, SIDE * SIDE);
    out.extend(0u32.to_le_bytes());
    out.extend(text);
    out.extend(pixels);
    out
}

/// `NAME.companion.ome` and the TIFFs it names, beside each other.
fn companion(path: &Path, files: usize, seed: u64) -> std::io::Result<()> {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = name.strip_suffix(".companion.ome").unwrap_or(&name).to_owned();
    let dir = path.parent().unwrap_or_else(|| Path::new("."));
    let companion_name = format!("{stem}.companion.ome");
    let mut planes = String::new();
    for i in 0..files {
        let member = format!("{stem}_{i}.ome.tif");
        let uuid = format!("urn:uuid:00000000-0000-4000-8000-{i:012}");
        planes += &format!(
            "<TiffData FirstZ=\"0\" FirstC=\"0\" FirstT=\"{i}\" IFD=\"0\" PlaneCount=\"1\"><UUID FileName=\"{member}\">{uuid}</UUID></TiffData>"
        );
        let xml = format!(
            "<OME xmlns=\"http://www.openmicroscopy.org/Schemas/OME/2016-06\" UUID=\"{uuid}\"><BinaryOnly MetadataFile=\"{companion_name}\" UUID=\"urn:uuid:10000000-0000-4000-8000-000000000000\"/></OME>"
        );
        std::fs::write(dir.join(member), tiff(seed + i as u64, &xml))?;
    }
    std::fs::write(
        dir.join(&companion_name),
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><OME xmlns=\"http://www.openmicroscopy.org/Schemas/OME/2016-06\" UUID=\"urn:uuid:10000000-0000-4000-8000-000000000000\"><Image ID=\"Image:0\" Name=\"{stem}\"><Pixels ID=\"Pixels:0\" DimensionOrder=\"XYZCT\" Type=\"uint8\" SizeX=\"8\" SizeY=\"8\" SizeZ=\"1\" SizeC=\"1\" SizeT=\"{files}\">{planes}</Pixels></Image></OME>\n"
        ),
    )
}

/// `files` TIFFs beside each other, `NAME_0.ome.tif` and so on, each of which names all: no companion file.
fn ome_tiff(path: &Path, files: usize, seed: u64) -> std::io::Result<()> {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = name.strip_suffix(".ome.tif").unwrap_or(&name).to_owned();
    let dir = path.parent().unwrap_or_else(|| Path::new("."));
    let uuid = |i: usize| format!("urn:uuid:00000000-0000-4000-8000-{i:012}");
    let planes: String = (0..files)
        .map(|i| {
            format!(
                "<TiffData FirstZ=\"0\" FirstC=\"0\" FirstT=\"{i}\" IFD=\"0\" PlaneCount=\"1\"><UUID FileName=\"{stem}_{i}.ome.tif\">{}</UUID></TiffData>",
                uuid(i)
            )
        })
        .collect();
    for i in 0..files {
        let xml = format!(
            "<OME xmlns=\"http://www.openmicroscopy.org/Schemas/OME/2016-06\" UUID=\"{}\"><Image ID=\"Image:0\" Name=\"{stem}\"><Pixels ID=\"Pixels:0\" DimensionOrder=\"XYZCT\" Type=\"uint8\" SizeX=\"8\" SizeY=\"8\" SizeZ=\"1\" SizeC=\"1\" SizeT=\"{files}\">{planes}</Pixels></Image></OME>",
            uuid(i)
        );
        std::fs::write(dir.join(format!("{stem}_{i}.ome.tif")), tiff(seed + i as u64, &xml))?;
    }
    Ok(())
}

/// A MetaXpress plate of one row: `NAME.HTD` and, in `directory` below it, `NAME_A01.TIF` and so on.
fn metaxpress(path: &Path, directory: &str, files: usize, seed: u64) -> std::io::Result<()> {
    let stem = path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let below = path.parent().unwrap_or_else(|| Path::new(".")).join(directory);
    std::fs::create_dir_all(&below)?;
    for i in 0..files {
        let description = "<MetaData><prop id=\"Description\" type=\"string\" value=\"\"/></MetaData>";
        std::fs::write(below.join(format!("{stem}_A{:02}.TIF", i + 1)), tiff(seed + i as u64, description))?;
    }
    let wells = vec!["TRUE"; files].join(", ");
    let lines = [
        "\"HTSInfoFile\", Version 1.0".to_owned(),
        "\"Description\", \"\"".to_owned(),
        "\"PlateType\", 4".to_owned(),
        "\"TimePoints\", 1".to_owned(),
        "\"ZSeries\", FALSE".to_owned(),
        "\"ZSteps\", 1".to_owned(),
        format!("\"XWells\", {files}"),
        "\"YWells\", 1".to_owned(),
        format!("\"WellsSelection1\", {wells}"),
        "\"Sites\", FALSE".to_owned(),
        "\"Waves\", TRUE".to_owned(),
        "\"NWavelengths\", 1".to_owned(),
        "\"WaveName1\", \"DAPI\"".to_owned(),
        "\"WaveCollect1\", 1".to_owned(),
        "\"UniquePlateIdentifier\", \"none\"".to_owned(),
        "\"EndFile\"".to_owned(),
    ];
    std::fs::write(path, lines.join("\r\n") + "\r\n")
}

/// `NAME.pattern` and the TIFFs beside it that it names.
fn pattern(path: &Path, files: usize, seed: u64) -> std::io::Result<()> {
    let stem = path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let dir = path.parent().unwrap_or_else(|| Path::new("."));
    for i in 1..=files {
        std::fs::write(dir.join(format!("{stem}_{i}.tif")), tiff(seed + i as u64, ""))?;
    }
    std::fs::write(path, format!("{stem}_<1-{files}>.tif\n"))
}

/// An OME-Zarr (version 0.4) of one resolution, `files` chunks.
fn zarr(path: &Path, files: usize, seed: u64) -> std::io::Result<()> {
    std::fs::create_dir_all(path.join("0"))?;
    std::fs::write(path.join(".zgroup"), "{\"zarr_format\": 2}\n")?;
    std::fs::write(
        path.join(".zattrs"),
        "{\"multiscales\": [{\"version\": \"0.4\", \"axes\": [{\"name\": \"y\", \"type\": \"space\"}, {\"name\": \"x\", \"type\": \"space\"}], \"datasets\": [{\"path\": \"0\", \"coordinateTransformations\": [{\"type\": \"scale\", \"scale\": [1.0, 1.0]}]}]}]}\n",
    )?;
    std::fs::write(
        path.join("0/.zarray"),
        format!(
            "{{\"zarr_format\": 2, \"shape\": [{}, 8], \"chunks\": [8, 8], \"dtype\": \"|u1\", \"compressor\": null, \"fill_value\": 0, \"order\": \"C\", \"filters\": null, \"dimension_separator\": \".\"}}\n",
            8 * files
        ),
    )?;
    for i in 0..files {
        let chunk: Vec<u8> = (0..64u64).map(|p| (p.wrapping_mul(seed + i as u64 + 1) % 251) as u8).collect();
        std::fs::write(path.join(format!("0/{i}.0")), chunk)?;
    }
    Ok(())
}

/// A plate with one row of `files` wells, each with one TIFF beside it.
fn plate(path: &Path, files: usize) -> std::io::Result<()> {
    let stem = path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let dir = path.parent().unwrap_or_else(|| Path::new("."));
    let mut text = format!("name {stem}\n");
    for i in 1..=files {
        let member = format!("{stem}_A{i}.tif");
        text += &format!("well A{i} {member}\n");
        std::fs::write(dir.join(member), tiff(i as u64, ""))?;
    }
    std::fs::write(path, text)
}
